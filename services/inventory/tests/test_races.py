"""Several orders at the same moment: nothing is sold twice, and nobody waits in a circle."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from shop.inventory.v1.inventory_pb2 import Reservation
from shop.order.v1.order_events_pb2 import OrderCancelled, OrderConfirmed
from uuid_utils.compat import uuid7

from chassis.database import Database, Sql, Transaction
from services.inventory.tests.driver import Driver, Shelf

_LOCK = Sql("SELECT stock", "SELECT FROM stock WHERE sku = :sku FOR UPDATE NOWAIT")
_ADD = Sql("UPDATE stock", "UPDATE stock SET available = available + :quantity WHERE sku = :sku")
_BLOCKED = Sql(
    "SELECT pg_stat_activity", "SELECT count(*) AS waiting FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
)


def fresh(count: int) -> list[str]:
    return [str(uuid7()) for _ in range(count)]


async def test_twenty_orders_for_the_last_one(driver: Driver) -> None:
    """Exactly one holds it, nineteen are refused, and each is told so once."""
    sku, orders = await driver.article(1), fresh(20)

    answers = await asyncio.gather(*(driver.reserve(order_id, {sku: 1}) for order_id in orders))

    assert Counter(answer.state for answer in answers) == {Reservation.HELD: 1, Reservation.REFUSED: 19}
    assert await driver.shelf(sku) == Shelf(0, 1)
    assert [len(await driver.outbox(order_id)) for order_id in orders] == [1] * 20


async def test_orders_at_once_take_exactly_what_is_there(driver: Driver) -> None:
    """Each reads the row as it is once locked, not as it was when the statement began."""
    sku, other, orders = await driver.article(10), await driver.article(1000), fresh(16)

    answers = await asyncio.gather(*(driver.reserve(order_id, {sku: 3, other: 1}) for order_id in orders))

    assert Counter(answer.state for answer in answers) == {Reservation.HELD: 3, Reservation.REFUSED: 13}
    assert (await driver.shelf(sku), await driver.shelf(other)) == (Shelf(1, 9), Shelf(997, 3))


async def test_the_same_command_twice_at_once_takes_once(driver: Driver, order_id: str) -> None:
    sku = await driver.article(10)

    answers = await asyncio.gather(*(driver.reserve(order_id, {sku: 2}) for _ in range(8)))

    assert all(answer == answers[0] for answer in answers)
    assert await driver.shelf(sku) == Shelf(8, 2)
    assert len(await driver.outbox(order_id)) == 1


async def test_the_same_restock_twice_at_once_adds_once(driver: Driver) -> None:
    sku = await driver.article(0)

    answers = await asyncio.gather(*(driver.restock(sku, 5, "monday") for _ in range(8)))

    assert {answer.available for answer in answers} == {5}
    assert await driver.shelf(sku) == Shelf(5, 0)


@pytest.mark.parametrize("_", range(10))
async def test_a_release_beside_its_reservation_leaves_nothing_held(driver: Driver, order_id: str, _: int) -> None:
    """Whichever comes first: a tombstone, or a reservation that is given back."""
    sku = await driver.article(3)

    await asyncio.gather(driver.reserve(order_id, {sku: 2}), driver.release(order_id))

    assert await driver.state(order_id) == "RELEASED"
    assert await driver.shelf(sku) == Shelf(3, 0)


@pytest.mark.parametrize("_", range(10))
async def test_a_cancel_beside_its_confirmation_brings_everything_back(driver: Driver, order_id: str, _: int) -> None:
    """The state that the other transaction leaves is judged, not the one that was there before it."""
    sku = await driver.article(3)
    await driver.reserve(order_id, {sku: 2})

    await asyncio.gather(driver.confirmed(order_id), driver.cancelled(order_id))

    assert await driver.state(order_id) in {"RELEASED", "RETURNED"}
    assert await driver.shelf(sku) == Shelf(3, 0)


async def test_opposite_orders_of_the_same_articles_do_not_deadlock(driver: Driver) -> None:
    """Reservations, shipments and returns at once, in batches, all over the same rows."""
    skus = [await driver.article(10_000) for _ in range(6)]
    held, wanted = fresh(24), fresh(24)
    for order_id in held:
        await driver.reserve(order_id, dict.fromkeys(skus, 1))
    forth, back = dict.fromkeys(skus, 1), dict.fromkeys(reversed(skus), 1)

    await asyncio.gather(
        *(driver.reserve(order_id, back if number % 2 else forth) for number, order_id in enumerate(wanted)),
        *(
            driver.hears(*(OrderConfirmed(order_id=order_id) for order_id in held[start : start + 4]))
            for start in range(0, 12, 4)
        ),
        *(
            driver.hears(*(OrderCancelled(order_id=order_id) for order_id in held[start : start + 4]))
            for start in range(12, 24, 4)
        ),
    )

    assert [await driver.shelf(sku) for sku in skus] == [Shelf(10_000 - 36, 24)] * 6


async def test_a_reservation_locks_its_articles_by_name(driver: Driver, owner: Database, order_id: str) -> None:
    """While the first by name is taken, the second is still free, however the lines stand in the command."""
    first, second = sorted([await driver.article(5), await driver.article(5)])
    async with asyncio.TaskGroup() as tasks, locked(owner, first) as holder:
        tasks.create_task(driver.reserve(order_id, {second: 1, first: 1}))
        await somebody_waits(driver.database)
        await holder.run(_LOCK, sku=second)

    assert await driver.state(order_id) == "HELD"


async def test_a_batch_locks_its_articles_by_name(driver: Driver, owner: Database) -> None:
    """However its orders stand in the batch: the first order's article is free while the second's is waited for."""
    first, second = sorted([await driver.article(5), await driver.article(5)])
    early, late = sorted(fresh(2))
    await driver.reserve(early, {second: 1})
    await driver.reserve(late, {first: 1})
    async with asyncio.TaskGroup() as tasks, locked(owner, first) as holder:
        tasks.create_task(driver.hears(OrderConfirmed(order_id=early), OrderConfirmed(order_id=late)))
        await somebody_waits(driver.database)
        await holder.run(_LOCK, sku=second)

    assert (await driver.shelf(first), await driver.shelf(second)) == (Shelf(4, 0), Shelf(4, 0))


async def test_a_reservation_that_waits_for_a_restock_gets_what_it_brings(
    driver: Driver, owner: Database, order_id: str
) -> None:
    """When the command came there was nothing; when its turn came there was enough."""
    sku = await driver.article(0)
    async with asyncio.TaskGroup() as tasks, locked(owner, sku) as holder:
        tasks.create_task(driver.reserve(order_id, {sku: 3}))
        await somebody_waits(driver.database)
        await holder.run(_ADD, sku=sku, quantity=3)

    assert await driver.state(order_id) == "HELD"
    assert await driver.shelf(sku) == Shelf(0, 3)


async def test_commands_that_pile_up_behind_one_article_all_end(driver: Driver, owner: Database, order_id: str) -> None:
    """The same reservation thrice and its release: whoever waits for the reservation holds no article meanwhile."""
    sku = await driver.article(3)
    async with asyncio.TaskGroup() as tasks, locked(owner, sku):
        for _ in range(3):
            tasks.create_task(driver.reserve(order_id, {sku: 2}))
        await somebody_waits(driver.database, sessions=3)
        tasks.create_task(driver.release(order_id))
        await somebody_waits(driver.database, sessions=4)

    assert await driver.state(order_id) == "RELEASED"
    assert await driver.shelf(sku) == Shelf(3, 0)


async def test_a_repeated_command_waits_for_no_article(driver: Driver, owner: Database, order_id: str) -> None:
    """Its work is done: what other orders do to the same article is none of its business."""
    sku = await driver.article(5)
    await driver.reserve(order_id, {sku: 1})

    async with locked(owner, sku), asyncio.timeout(2):
        assert (await driver.reserve(order_id, {sku: 1})).state == Reservation.HELD


@asynccontextmanager
async def locked(owner: Database, sku: str) -> AsyncGenerator[Transaction]:
    """A transaction that holds the article's row; it ends with the block."""
    async with owner.transaction() as transaction:
        await transaction.run(_LOCK, sku=sku)
        yield transaction


async def somebody_waits(database: Database, sessions: int = 1) -> None:
    """Returns once that many sessions of the running role wait for a lock."""
    async with asyncio.timeout(2), database.single() as once:
        while (await once.all(_BLOCKED))[0].waiting < sessions:  # noqa: ASYNC110 - PostgreSQL tells nobody that a session waits
            await asyncio.sleep(0.01)
