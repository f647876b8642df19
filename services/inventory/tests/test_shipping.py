"""What becomes of a reservation when its order is confirmed or cancelled, in any order and any number of times."""

import pytest
from shop.inventory.v1.inventory_events_pb2 import StockReleased, StockReserved, StockReturned
from shop.order.v1.order_events_pb2 import OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected
from uuid_utils.compat import uuid7

from chassis import telemetry
from chassis.testing import Spans, attributes
from services.inventory.__main__ import SHIPPING
from services.inventory.tests.driver import Driver, Shelf


async def test_the_goods_of_a_confirmed_order_leave(driver: Driver, order_id: str) -> None:
    """Held pieces are gone, and nobody is told: the order knows already."""
    sku = await driver.article(5)
    await driver.reserve(order_id, {sku: 2})

    await driver.confirmed(order_id)

    assert await driver.state(order_id) == "SHIPPED"
    assert await driver.shelf(sku) == Shelf(3, 0)
    assert [type(event) for event in await driver.events(order_id)] == [StockReserved]


async def test_cancelling_a_shipped_order_brings_the_goods_back(driver: Driver, order_id: str) -> None:
    sku = await driver.article(5)
    reserved = await driver.reserve(order_id, {sku: 2})
    await driver.confirmed(order_id)

    await driver.cancelled(order_id)

    assert await driver.state(order_id) == "RETURNED"
    assert await driver.shelf(sku) == Shelf(5, 0)
    assert (await driver.events(order_id))[1:] == [StockReturned(order_id=order_id, lines=reserved.lines)]


async def test_cancelling_a_held_order_releases_the_goods(driver: Driver, order_id: str) -> None:
    """Whatever kept the confirmation away, a cancelled order holds nothing."""
    sku = await driver.article(5)
    reserved = await driver.reserve(order_id, {sku: 2})

    await driver.cancelled(order_id)

    assert await driver.state(order_id) == "RELEASED"
    assert await driver.shelf(sku) == Shelf(5, 0)
    assert (await driver.events(order_id))[1:] == [StockReleased(order_id=order_id, lines=reserved.lines)]


async def test_a_confirmation_behind_the_cancellation_ships_nothing(driver: Driver, order_id: str) -> None:
    """A redriven dead letter can be overtaken by what came after it."""
    sku = await driver.article(5)
    await driver.reserve(order_id, {sku: 2})
    await driver.cancelled(order_id)

    await driver.confirmed(order_id)

    assert await driver.state(order_id) == "RELEASED"
    assert await driver.shelf(sku) == Shelf(5, 0)


async def test_repeated_events_change_nothing(driver: Driver, order_id: str) -> None:
    """Neither one that the inbox knows nor one that comes under a new id."""
    sku = await driver.article(5)
    await driver.reserve(order_id, {sku: 2})
    shipped, cancelled = uuid7(), uuid7()
    for event_id in (shipped, shipped, uuid7()):
        await driver.confirmed(order_id, event_id)
        assert await driver.shelf(sku) == Shelf(3, 0)
    for event_id in (cancelled, cancelled, uuid7()):
        await driver.cancelled(order_id, event_id)
        assert await driver.shelf(sku) == Shelf(5, 0)

    assert await driver.state(order_id) == "RETURNED"
    assert [type(event) for event in await driver.events(order_id)] == [StockReserved, StockReturned]


@pytest.mark.parametrize("begin", ["nothing", "refused", "released", "tombstone"])
async def test_events_about_an_order_without_goods_do_nothing(driver: Driver, order_id: str, begin: str) -> None:
    """A saga that was cancelled while pending has undone its own work before its order says so."""
    sku = await driver.article(5)
    if begin == "refused":
        await driver.reserve(order_id, {sku: 6})
    elif begin == "released":
        await driver.reserve(order_id, {sku: 2})
    if begin in {"released", "tombstone"}:
        await driver.release(order_id)
    state, told = await driver.state(order_id), await driver.outbox(order_id)

    await driver.confirmed(order_id)
    await driver.cancelled(order_id)

    assert (await driver.state(order_id), await driver.outbox(order_id)) == (state, told)
    assert await driver.shelf(sku) == Shelf(5, 0)


async def test_an_event_without_effect_is_noted_on_its_span(driver: Driver, spans: Spans, order_id: str) -> None:
    sku = await driver.article(1)
    await driver.reserve(order_id, {sku: 1})

    for _ in range(2):
        with telemetry.span("process order.events"):
            await driver.confirmed(order_id)

    noted = [attributes(span)["shop.reservation.outcome"] for span in spans.named("process order.events")]
    assert noted == ["SHIPPED", "UNCHANGED"]


async def test_orders_that_share_a_batch_share_a_change_of_the_shelf(driver: Driver) -> None:
    """One ships and one comes back: the row both want is right afterwards."""
    sku, other = await driver.article(10), await driver.article(10)
    leaves, stays = str(uuid7()), str(uuid7())
    await driver.reserve(leaves, {sku: 3, other: 1})
    await driver.reserve(stays, {sku: 4})

    await driver.hears(OrderConfirmed(order_id=leaves), OrderCancelled(order_id=stays))

    assert (await driver.state(leaves), await driver.state(stays)) == ("SHIPPED", "RELEASED")
    assert (await driver.shelf(sku), await driver.shelf(other)) == (Shelf(7, 0), Shelf(9, 0))


def test_every_event_of_an_order_is_handled_or_ignored_on_purpose() -> None:
    """An event that order publishes and this table forgets would be poison."""
    handled = {event.DESCRIPTOR.full_name for event in (*SHIPPING.handlers, *SHIPPING.ignored)}
    assert handled == {f"shop.order.v1.{name}" for name in OrderPlaced.DESCRIPTOR.file.message_types_by_name}
    assert OrderRejected in SHIPPING.ignored
