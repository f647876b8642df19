"""`shop stock` and `shop payment`: goods and money, as they stand."""

import pytest

from cli.tests.commands import Commands
from cli.tests.orders import UNKNOWN, decided

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_shelf_is_shown(shop: Commands) -> None:
    """All articles, or one; numbers stand below each other."""
    every = (await shop.run("stock", "--json")).json
    assert {"espresso-beans", "last-one", "sold-out"} <= {item["sku"] for item in every}
    one = (await shop.run("stock", "sold-out", "--json")).json
    assert (one["sku"], one["available"], one["held"]) == ("sold-out", "0", "0")
    said = await shop.run("stock", "sold-out")
    assert [line.split() for line in said.out.splitlines()] == [
        ["article", "available", "held", "price"],
        ["sold-out", "0", "0", "42.00", "EUR"],
    ]


async def test_an_article_that_nobody_sells_is_named(shop: Commands) -> None:
    said = await shop.run("stock", "no-such")
    assert (said.code, said.errors) == (5, "sku: no article 'no-such'\n")


async def test_a_payment_is_shown_with_its_entries(shop: Commands) -> None:
    """What was taken and what was given back, booked twice each; they sum to zero."""
    order = await decided(shop)
    payment = (await shop.run("payment", order["orderId"], "--json")).json
    assert (payment["state"], payment["ledgerSumMinor"], payment["refundPending"]) == ("CHARGED", 0, False)
    assert (await shop.run("order", "cancel", order["orderId"])).code == 0
    assert (await shop.run("order", "trace", order["orderId"], "--follow")).code == 0
    said = await shop.run("payment", order["orderId"])
    booked = [tuple(line.split()[1:4]) for line in said.out.splitlines() if "CUSTOMER_PAYMENTS" in line]
    assert booked == [("CHARGE", "CUSTOMER_PAYMENTS", "-29.80"), ("REFUND", "CUSTOMER_PAYMENTS", "29.80")]
    assert said.out.splitlines()[-1] == "  The entries sum to 0.00."


async def test_money_that_is_wanted_back_is_said_to_be(shop: Commands) -> None:
    """By hand, before anything was charged: the tombstone of a payment that never was."""
    await shop.run("call", "payment/RefundPayment", f'{{"orderId": "{UNKNOWN}"}}')
    said = await shop.run("payment", UNKNOWN)
    assert said.code == 0
    assert "of nothing: it was undone first" in said.out
    assert "Nothing is booked in the ledger." in said.out


async def test_an_order_without_a_payment_says_why(shop: Commands) -> None:
    """What was rejected first has none; an order that does not exist is another thing."""
    order = await decided(shop, "--sku", "sold-out", "--quantity", "1")
    said = await shop.run("payment", order["orderId"])
    expected = f"Order {order['orderId']} is REJECTED and has no payment: nothing was charged.\n"
    assert (said.code, said.errors) == (5, expected)
    nobody = "01a21e5b-0000-7730-aee6-f4059e7cac82"
    said = await shop.run("payment", nobody)
    assert (said.code, said.errors) == (5, f"order {nobody} does not exist\n")
