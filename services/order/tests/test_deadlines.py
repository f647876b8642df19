"""The timer: deadlines pass however many there are and whoever else looks, and a strange saga harms no other."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from chassis import telemetry
from chassis.database import Database, Sql
from chassis.testing import Spans, attributes, eventually, figure, is_child, planning_nested_loops
from infra.local.postgres import Postgres
from services.order import deadlines
from services.order.deadlines import CONCURRENCY_MAX, Deadlines
from services.order.settings import OrderSettings
from services.order.tests.test_handlers import Shop

FAILED = "shop.saga.deadlines_failed"


@pytest.fixture
async def shop(database: Database, settings: OrderSettings) -> Shop:
    """No deadline of another test's order is due."""
    sql = Sql("UPDATE sagas", "UPDATE sagas SET deadline_at = NULL WHERE deadline_at IS NOT NULL")
    async with database.single() as once:
        await once.run(sql)
    return Shop(database, settings)


@asynccontextmanager
async def timer(shop: Shop, poll_seconds: float) -> AsyncGenerator[None]:
    """A timer that runs as long as the block."""
    stopping = asyncio.Event()
    settings = shop.settings.model_copy(update={"deadline_poll_seconds": poll_seconds})
    running = asyncio.create_task(Deadlines(shop.database, settings, stopping).run())
    try:
        yield
        assert not running.done()
    finally:
        stopping.set()
        await running


async def late(shop: Shop) -> str:
    """An order that was not reserved in time."""
    order_id = (await shop.place()).order_id
    await shop.let_pass(order_id)
    return order_id


async def turned_back(shop: Shop, *order_ids: str) -> bool:
    return {await shop.step(order_id) for order_id in order_ids} == {"RELEASING_STOCK"}


async def set_step(shop: Shop, order_id: str, step: str) -> None:
    async with shop.database.single() as once:
        await once.run(
            Sql("UPDATE sagas", "UPDATE sagas SET step = :step WHERE order_id = :id"), id=order_id, step=step
        )


async def test_more_deadlines_than_are_passed_at_once_do_not_wait_for_the_next_look(shop: Shop) -> None:
    """However many orders a lost participant leaves behind, each is told when its time has come."""
    order_ids = [await late(shop) for _ in range(3 * CONCURRENCY_MAX)]
    async with timer(shop, poll_seconds=3600):
        await eventually(lambda: turned_back(shop, *order_ids))


async def test_replicas_take_different_sagas(shop: Shop) -> None:
    """Each that is added passes its own share, and what one has taken no other takes."""
    order_ids = [await late(shop) for _ in range(6)]
    replicas = [Deadlines(shop.database, shop.settings, asyncio.Event()) for _ in range(3)]
    shares = await asyncio.gather(*(replica.claim(2) for replica in replicas))
    assert sorted(row.order_id for share in shares for row in share) == sorted(order_ids)
    assert await replicas[0].claim(2) == []


async def test_a_claim_takes_no_more_than_it_has_room_for_however_it_is_planned(
    shop: Shop, postgres: Postgres, settings: OrderSettings
) -> None:
    """A planner may read what it updates row by row, and what is due anew for each of them."""
    for _ in range(4):
        await late(shop)
    async with planning_nested_loops(postgres.superuser_url(), '"order"'):
        planned = Database(settings.database_url)
        rows = await Deadlines(planned, settings, asyncio.Event()).claim(2)
        await planned.close()
    assert len(rows) == 2


async def test_a_saga_that_is_locked_holds_no_other_up(shop: Shop) -> None:
    """Somebody is at work on it: it is passed by, and looked at again when it is free."""
    locked, free = await late(shop), await late(shop)
    lock = Sql("SELECT sagas", "SELECT * FROM sagas WHERE order_id = :id FOR UPDATE")
    async with shop.database.transaction() as transaction:
        await transaction.first(lock, id=locked)
        async with timer(shop, poll_seconds=0.02):
            await eventually(lambda: turned_back(shop, free))
        assert not await turned_back(shop, locked)
    async with timer(shop, poll_seconds=0.02):
        await eventually(lambda: turned_back(shop, locked))


async def test_a_saga_that_cannot_be_handled_is_counted_and_rests(shop: Shop) -> None:
    """Such as one at a step of a newer version: it ends no process, holds no other up, and is not tried at once."""
    before = figure(FAILED) or 0.0
    strange = [await late(shop) for _ in range(CONCURRENCY_MAX)]
    for order_id in strange:
        await set_step(shop, order_id, "WRAPPING_GIFT")
    async with timer(shop, poll_seconds=0.02):
        for _ in range(3):
            order_id = await late(shop)
            await eventually(lambda order_id=order_id: turned_back(shop, order_id))
        assert figure(FAILED, error="ValueError") == before + len(strange)


async def test_a_claim_that_led_to_nothing_ends(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its holder died or the saga could not be handled, the saga is claimed again; the first holder is late."""
    monkeypatch.setattr(deadlines, "CLAIM_SECONDS", 0.0)
    order_id = await late(shop)
    first = Deadlines(shop.database, shop.settings, asyncio.Event())
    (overtaken,) = await first.claim(1)
    (row,) = await Deadlines(shop.database, shop.settings, asyncio.Event()).claim(1)
    await first.pass_due(overtaken)
    assert await shop.step(order_id) == "RESERVING_STOCK"
    await first.pass_due(row)
    assert await turned_back(shop, order_id)


async def test_a_database_that_is_away_is_no_fault_of_the_saga(shop: Shop, settings: OrderSettings) -> None:
    """It is not counted against it, and the saga is tried again."""
    await late(shop)
    (row,) = await Deadlines(shop.database, settings, asyncio.Event()).claim(1)
    before = figure(FAILED)
    away = Database(settings.database_url)
    await away.close()
    await Deadlines(away, settings, asyncio.Event()).pass_due(row)
    assert figure(FAILED) == before


async def test_a_deadline_is_one_branch_of_the_orders_trace(shop: Shop, spans: Spans) -> None:
    """All of it, the lock included, and it says which step took longer than what, and what follows."""
    order_id = await late(shop)
    async with timer(shop, poll_seconds=3600):
        await eventually(lambda: turned_back(shop, order_id))
    passed = spans.one("saga deadline")
    assert is_child(passed, spans.one("place_order"))
    own = [span for span in spans.all() if is_child(span, passed)]
    assert [span.name for span in own] == [
        "SELECT sagas",
        "DELETE command_outbox",
        "UPDATE sagas",
        "INSERT command_outbox",
    ]
    assert all(attributes(span).get(telemetry.ORDER_ID) == order_id for span in own)
    assert attributes(passed)["shop.saga.facts"] == (
        "DeadlinePassed: RESERVING_STOCK: no answer within 20 s",
        "TurnedBack: RESERVATION_TIMED_OUT",
    )
    assert spans.named("pass_deadline") == []
