"""An order that has ended may still move stock, money and messages: a figure that is read meanwhile soon changes."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from e2e.conftest import BEANS, Json, Shop, embedded, eventually
from infra.at_rest import NotAtRest, at_rest
from infra.local.system import System as Embedded


async def shelf(shop: Shop) -> Json | None:
    """As it is now, whether or not anything moves; None while inventory does not answer."""
    response = await shop.client.get(f"/v1/stock/{BEANS}")
    return response.json() if response.status_code == 200 else None


@asynccontextmanager
async def away(shop: Shop, name: str) -> AsyncGenerator[None]:
    await shop.system.pause(name)
    try:
        yield
    finally:
        await shop.system.resume(name)


async def moves(shop: Shop, what: str) -> None:
    """Returns when this is what keeps the shop from rest."""

    async def named() -> bool:
        with pytest.raises(NotAtRest) as error:
            await at_rest(shop.system, seconds_max=0)
        return what in str(error.value)

    await eventually(named, what)


@embedded
async def test_the_shelf_is_read_once_the_order_before_is_shipped(shop: Shop) -> None:
    """An order is confirmed, and its goods stay held until inventory hears that."""
    placed = await shop.place("tok_slow")
    await shop.heard(placed["orderId"], "StockReserved")
    # The new process answers at once, but hears nothing until the broker has missed the old one's heartbeats.
    await shop.system.kill("inventory")
    await shop.system.ready("inventory")
    assert (await shop.ended(placed["orderId"]))["status"] == "CONFIRMED"
    await eventually(lambda: shelf(shop), "inventory answers again")
    before = await shop.stock()

    async def shipped() -> Json | None:
        found = await shelf(shop)
        return found if found and found["held"] == "0" else None

    now = await eventually(shipped, "the goods leave")
    assert (int(now["available"]), int(now["held"])) == before


async def test_an_order_whose_card_is_not_charged_yet_is_under_way(shop: Shop) -> None:
    """Its goods are held meanwhile."""
    available, held = await shop.stock()
    async with away(shop, "card-network"):
        placed = await shop.place()
        await moves(shop, f"order {placed['orderId']} is PENDING")
    sold = (await shop.ended(placed["orderId"]))["status"] == "CONFIRMED"
    assert await shop.stock() == (available - sold, held)


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ("payment", "payment.refunds has 1 of order.events to read"),
        ("card-network", "order {order_id} is CANCELLED, but its PaymentCharged is not undone"),
    ],
)
async def test_a_cancelled_order_is_under_way_until_its_money_is_back(shop: Shop, part: str, what: str) -> None:
    """The order is CANCELLED at once and its goods are back; payment has not heard it, or gets no answer."""
    order = await shop.ended((await shop.place())["orderId"])
    await shop.at_rest()
    async with away(shop, part):
        await shop.cancel(order["orderId"])
        await shop.heard(order["orderId"], "StockReturned")
        await moves(shop, what.format(order_id=order["orderId"]))
    await shop.at_rest()
    payment = await shop.payment(order["orderId"])
    assert (payment["state"], await shop.taken_at_the_network(payment["paymentId"])) == ("REFUNDED", 0)


@embedded
async def test_a_shop_that_cannot_be_asked_is_not_at_rest(shop: Shop) -> None:
    """Kafka is away: what is there to read is not known, and is once it is back."""
    assert isinstance(shop.system, Embedded)
    await shop.system.broker_down()
    try:
        await moves(shop, "Kafka does not answer")
    finally:
        await shop.system.broker_up()
    await shop.at_rest()
