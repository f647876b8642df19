"""Watching an order: what has happened, what happens, and the end."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from shop.order.v1.order_pb2 import Order, OrderLine, TimelineEntry
from shop.order.v1.order_service_pb2 import PlaceOrderRequest
from uuid_utils.compat import uuid7

from chassis.database import Database, Sql
from chassis.errors import NotFound
from services.order import handlers
from services.order.settings import OrderSettings
from services.order.timeline import Closing, Watchers


async def place(database: Database, settings: OrderSettings) -> str:
    request = PlaceOrderRequest(
        customer_id="ada",
        card_token="tok_visa",
        request_id=str(uuid7()),
        lines=[OrderLine(sku="espresso-beans", quantity=1)],
    )
    return (await database.unit_of_work(handlers.place_order, request, settings)).order_id


async def confirm(database: Database, order_id: str, status: str) -> None:
    """Another event, as the saga would note it."""
    sql = Sql(
        "INSERT order_timeline",
        """INSERT INTO order_timeline (order_id, position, event, service, happened_at, status, trace_id, span_id)
           SELECT :order_id, max(position) + 1, 'x', 'order', clock_timestamp(), :status, '', '' FROM order_timeline
           WHERE order_id = :order_id""",
    )
    async with database.transaction() as transaction:
        await transaction.run(sql, order_id=order_id, status=status)
        transaction.notify("order_timeline", order_id)


@pytest.fixture
def stopping() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def watchers(database: Database, stopping: asyncio.Event) -> AsyncIterator[Watchers]:
    watchers = Watchers(database, stopping, seconds_max=10)
    stopped = asyncio.create_task(watchers.stopped())
    yield watchers
    stopped.cancel()


async def test_a_watch_tells_what_happened_and_what_happens(
    database: Database, settings: OrderSettings, watchers: Watchers
) -> None:
    """The entries so far come first, each new one at its commit, and the stream ends with the order's end."""
    order_id = await place(database, settings)
    watch = watchers.watch(order_id, 0)
    assert (await anext(watch)).position == 1
    coming = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    await confirm(database, order_id, "CONFIRMED")
    assert (await coming).status == Order.CONFIRMED
    await confirm(database, order_id, "CANCELLED")
    rest = [entry async for entry in watch]
    assert [(entry.position, entry.status) for entry in rest] == [(3, Order.CANCELLED)]


async def test_a_watch_resumes_behind_a_position(
    database: Database, settings: OrderSettings, watchers: Watchers
) -> None:
    """Nothing is told twice to who comes back."""
    order_id = await place(database, settings)
    await confirm(database, order_id, "REJECTED")
    assert [entry.position async for entry in watchers.watch(order_id, 1)] == [2]


async def test_a_resumed_watch_of_an_order_that_is_over_ends_at_once(
    database: Database, settings: OrderSettings, watchers: Watchers
) -> None:
    """Who has seen the last entry, or claims to have seen more, does not wait for what cannot come."""
    order_id = await place(database, settings)
    await confirm(database, order_id, "CANCELLED")
    async with asyncio.timeout(5):
        for position in (2, 7):
            assert [entry async for entry in watchers.watch(order_id, position)] == []


async def test_a_watch_ends_after_its_time(database: Database, settings: OrderSettings) -> None:
    """An order that stays as it is does not hold a stream for ever."""
    order_id = await place(database, settings)
    watchers = Watchers(database, asyncio.Event(), seconds_max=0.2)
    async with asyncio.timeout(5):
        assert [entry.position async for entry in watchers.watch(order_id, 0)] == [1]


async def test_watching_an_unknown_order_is_refused(database: Database, watchers: Watchers) -> None:
    """An error, not an empty stream, also for who says to resume."""
    for position in (0, 5):
        with pytest.raises(NotFound):
            await anext(watchers.watch(str(uuid7()), position))


async def test_a_watcher_is_sent_away_when_the_process_stops(
    database: Database, settings: OrderSettings, watchers: Watchers, stopping: asyncio.Event
) -> None:
    """No stream holds up a shutdown."""
    order_id = await place(database, settings)
    watch = watchers.watch(order_id, 0)
    entry: TimelineEntry = await anext(watch)
    coming = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    stopping.set()
    with pytest.raises(Closing):
        async with asyncio.timeout(5):
            await coming
    assert entry.position == 1
