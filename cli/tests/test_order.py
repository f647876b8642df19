"""`shop order`: what a customer does, and what became of it."""

import asyncio
import json
import signal
from typing import Any
from uuid import uuid4

import httpx
import pytest

from cli.tests.commands import Commands, ended, line
from cli.tests.orders import COPIED, UNKNOWN, decided, plain, without
from infra.local.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

GOOD = ["OrderPlaced", "StockReserved", "PaymentCharged", "OrderConfirmed"]


def events(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["event"].rpartition(".")[2] for entry in entries]


async def test_an_order_is_placed_and_watched_until_it_is_confirmed(shop: Commands) -> None:
    """The order first, then its timeline, an object a line."""
    said = await shop.run("order", "place", "--watch", "--json")
    order, *timeline = said.objects
    assert (said.code, order["status"], order["customerId"]) == (0, "PENDING", "ada")
    assert order["tracePage"].endswith(f"/trace/{order['traceId']}")
    assert events(timeline) == GOOD


async def test_a_person_is_told_where_to_look_next(shop: Commands) -> None:
    """The order's id, the address of its trace, and the command that follows it."""
    said = await shop.run("order", "place", "--card", "tok_declined", "--quantity", "1")
    first, trace, drawn, watch = said.out.splitlines()
    order_id = COPIED.findall(first)[0]
    assert first == f"Order {order_id} is PENDING."
    assert trace.startswith("Trace http://127.0.0.1:")
    assert drawn.startswith("Drawn http://127.0.0.1:")
    assert drawn.endswith(f"/#/orders/{order_id}")
    assert watch == f"What becomes of it: ./shop order watch {order_id}"


async def test_the_same_key_gets_the_first_order_again(shop: Commands) -> None:
    """With other content it is refused."""
    key = str(uuid4())
    first, again = [(await shop.run("order", "place", "--key", key, "--json")).json for _ in range(2)]
    assert first == again
    other = await shop.run("order", "place", "--key", key, "--quantity", "3")
    assert (other.code, "other content" in other.errors) == (6, True)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--card", "4111", "cardToken: "), ("--sku", "NO", "lines[0].sku: "), ("--quantity", "0", "'--quantity'")],
)
async def test_what_cannot_be_ordered_is_named(shop: Commands, option: str, value: str, said: str) -> None:
    """Whether the command line or the service finds out: exit code 2."""
    refused = await shop.run("order", "place", option, value)
    assert (refused.code, refused.out, said in refused.errors) == (2, "", True)


async def test_everything_about_an_order_is_shown(shop: Commands) -> None:
    """Itself, its timeline, the payment with its entries, the reservation, and where its trace is."""
    order = await decided(shop)
    shown = (await shop.run("order", "show", order["orderId"], "--json")).json
    assert (shown["order"]["status"], events(shown["timeline"])) == ("CONFIRMED", GOOD)
    assert (shown["payment"]["state"], len(shown["payment"]["ledgerEntries"])) == ("CHARGED", 2)
    assert shown["reservation"]["lines"][0]["sku"] == "espresso-beans"
    assert shown["tracePages"] == [order["tracePage"]]


async def test_an_order_that_holds_nothing_is_shown_as_such(shop: Commands) -> None:
    order = await decided(shop, "--sku", "sold-out", "--quantity", "1")
    said = await shop.run("order", "show", order["orderId"])
    assert f"Order {order['orderId']}: REJECTED, OUT_OF_STOCK" in said.out
    assert "  payment      none\n" in said.out
    assert "  reservation  REFUSED\n" in said.out


async def test_an_order_is_shown_while_a_service_is_away(shop: Commands, system: System) -> None:
    """What can be known of it is; who does not answer is named."""
    order = await decided(shop)
    async with without(system, "payment"):
        shown = await shop.run("order", "show", order["orderId"])
    assert shown.code == 0
    assert "  payment      The payment service does not answer" in shown.out
    assert "OrderConfirmed" in shown.out


async def test_in_a_narrow_terminal_nothing_that_is_copied_is_cut(shop: Commands) -> None:
    """60 columns: ids and addresses stay whole, and no line of a table is broken in two."""
    order = await decided(shop)
    code, text = await shop.in_terminal(60, "order", "show", order["orderId"])
    lines = plain(text).splitlines()
    assert code == 0
    assert f"Order {order['orderId']}: CONFIRMED" in lines
    assert f"Trace {order['tracePage']}" in lines
    assert all(len(line) <= 60 or COPIED.search(line) for line in lines), lines
    code, text = await shop.in_terminal(60, "order", "list", "--limit", "2")
    assert (code, plain(text).splitlines()[0]) == (0, order["orderId"])


async def test_orders_are_listed_by_customer_and_status(shop: Commands) -> None:
    """The newest first, no more than wanted."""
    customer = f"lister-{uuid4()}"
    first = await decided(shop, "--customer", customer)
    second = await decided(shop, "--customer", customer, "--card", "tok_declined")

    async def listed(*options: str) -> list[str]:
        said = await shop.run("order", "list", "--customer", customer, "--json", *options)
        return [order["orderId"] for order in said.json]

    assert await listed() == [second["orderId"], first["orderId"]]
    assert await listed("--limit", "1") == [second["orderId"]]
    assert await listed("--status", "confirmed") == [first["orderId"]]
    header, row = (await shop.run("order", "list", "--customer", customer, "--status", "REJECTED")).out.splitlines()
    assert header.split() == ["order", "status", "placed", "customer", "total", "reason"]
    assert (row.split()[0], row.split()[-1]) == (second["orderId"], "PAYMENT_DECLINED")
    none = await shop.run("order", "list", "--customer", "nobody")
    assert (none.code, none.out) == (0, "There is no such order.\n")


async def test_a_confirmed_order_is_cancelled_and_watched_to_its_end(shop: Commands) -> None:
    """The watch ends by itself: a cancelled order can change no more."""
    order = await decided(shop)
    assert (await shop.run("order", "cancel", order["orderId"], "--json")).json["status"] == "CANCELLED"
    watched = await shop.run("order", "watch", order["orderId"], "--json")
    assert (watched.code, events(watched.objects)[:5]) == (0, [*GOOD, "OrderCancelled"])


async def test_a_rejected_order_cannot_be_cancelled(shop: Commands) -> None:
    order = await decided(shop, "--card", "tok_declined")
    said = await shop.run("order", "cancel", order["orderId"], "--json")
    assert (said.code, said.out) == (6, "")
    assert json.loads(said.errors) == {
        "error": f"order {order['orderId']} was rejected and cannot be cancelled",
        "exitCode": 6,
    }


async def test_ctrl_c_ends_a_watch(shop: Commands) -> None:
    """A confirmed order may still be cancelled, so the watch goes on until somebody ends it."""
    order = await decided(shop)
    watching = await shop.start("order", "watch", order["orderId"], "--json")
    shown = [await line(watching) for _ in GOOD]
    assert events(shown) == GOOD
    watching.send_signal(signal.SIGINT)
    said = await ended(watching)
    assert (said.code, said.errors.strip()) == (130, "")


async def test_a_watch_outlives_the_order_service(shop: Commands, system: System) -> None:
    """It goes on where it was, and says that it had to wait."""
    order = await decided(shop)
    watching = await shop.start("order", "watch", order["orderId"], "--json")
    for _ in GOOD:
        await line(watching)
    async with without(system, "order"):
        # It says so only once it has noticed.
        async with asyncio.timeout(10):
            said = await watching.stderr.readline() if watching.stderr else b""
    assert b"waiting for it" in said
    assert (await shop.run("order", "cancel", order["orderId"])).code == 0
    assert (await line(watching))["event"] == "shop.order.v1.OrderCancelled"
    assert (await ended(watching)).code == 0


@pytest.mark.parametrize("verb", ["show", "watch", "cancel", "trace"])
async def test_an_order_that_does_not_exist_is_named(shop: Commands, verb: str) -> None:
    """Exit code 5; what is no order's id at all is a mistake in the command line."""
    said = await shop.run("order", verb, UNKNOWN)
    assert (said.code, said.out, said.errors) == (5, "", f"order {UNKNOWN} does not exist\n")
    malformed = await shop.run("order", verb, "0815")
    assert (malformed.code, "'0815' is no order's id" in malformed.errors) == (2, True)


async def test_who_only_looks_leaves_no_trace(shop: Commands, system: System) -> None:
    """The newest traces are orders, whatever was asked since."""
    order = await decided(shop)
    order_id = order["orderId"]
    for asked in (("show", order_id), ("watch", order_id), ("trace", order_id), ("list",)):
        if asked[0] == "watch":
            watching = await shop.start("order", *asked, "--json")
            await line(watching)
            watching.send_signal(signal.SIGINT)
            await ended(watching)
        else:
            assert (await shop.run("order", *asked)).code == 0
    assert (await shop.run("payment", order_id)).code == 0
    # What is told of the cancel comes later than what would have been told of the questions.
    assert (await shop.run("order", "cancel", order_id)).code == 0
    await shop.run("order", "trace", order_id, "--follow")
    methods = ("GetOrder", "GetOrderTimeline", "WatchOrder", "ListOrders", "CancelOrder")
    async with httpx.AsyncClient(base_url=system.traces_url) as client:
        left = set[str]()
        for method in methods:
            path, query = system.search("order", {}, f"shop.order.v1.OrderService/{method}")
            # 404 where there is none.
            left |= {method} if (await client.get(path, params=query)).is_success else set()
    assert left == {"CancelOrder"}
