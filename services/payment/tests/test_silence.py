"""Cards about which the network says nothing: however many there are, others are charged at once."""

import asyncio
import os
import statistics
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from chassis.database import Database, Sql
from chassis.testing import eventually
from infra.local.postgres import Postgres
from services.payment.card_network import CardNetwork
from services.payment.card_worker import CardWorker
from services.payment.places import FIRST_ATTEMPTS, LINGER_SECONDS_MAX, Places
from services.payment.settings import PaymentSettings
from services.payment.tests.driver import PRICE, Driver
from services.payment.tests.network import Network

PER_SECOND, ORDINARY = 10, 50
# Median and 99th percentile in seconds: what is promised, on a machine that does nothing else (QUIET=1), and what is
# below a time-out all the same: behind silent cards it would take many of them.
PROMISED, BUSY = (0.1, 0.5), (2.5, 4.5)
CALLS_MAX = 64
LATER, LONG_SECONDS = FIRST_ATTEMPTS + 1, LINGER_SECONDS_MAX + 0.1
# Open payments would be other tests' too, which claim what is due.
FORGET = "DELETE FROM payments WHERE state = 'CHARGING'"
_TOOK = Sql(
    "SELECT payments",
    """
    SELECT extract(epoch FROM updated_at - created_at) AS seconds FROM payments
    WHERE order_id = ANY(CAST(:order_ids AS text[])) AND state = 'CHARGED' ORDER BY 1
    """,
)
PLAN = """
    EXPLAIN (COSTS OFF) SELECT payment_id FROM payments
    WHERE next_attempt_at <= statement_timestamp() AND attempts {attempts}
    ORDER BY {order} LIMIT 32 FOR NO KEY UPDATE SKIP LOCKED
"""


class Counted(CardNetwork):
    """The client, and how many of its calls are open."""

    open = open_max = 0

    async def _call(self, *args: Any, **named: Any) -> tuple[int, bytes]:
        self.open += 1
        self.open_max = max(self.open, self.open_max)
        try:
            return await super()._call(*args, **named)
        finally:
            self.open -= 1


@pytest.fixture
async def silent(tmp_path: Path) -> AsyncIterator[Network]:
    """A card network that says nothing about silent cards for longer than any test takes."""
    started = Network(tmp_path, SILENCE_SECONDS="600")
    await started.start()
    yield started
    started.stop()


@asynccontextmanager
async def working(worker: CardWorker, network: CardNetwork, stopping: asyncio.Event) -> AsyncGenerator[None]:
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        stopping.set()
        # What is open gets no answer any more, so the worker need not wait for its time-out.
        await network.close()
        await running


@pytest.mark.parametrize("cards", [60, 1000])
async def test_silent_cards_do_not_hold_others_up(
    database: Database, postgres: Postgres, silent: Network, cards: int
) -> None:
    """Ordinary payments come in evenly while the silent ones are open, from the moment at which they are written."""
    stopping = asyncio.Event()
    network = Counted(silent.url, timeout_seconds=5, connections_max=CALLS_MAX)
    worker = CardWorker(database, network, stopping=stopping, timeout_seconds=5, concurrency_max=CALLS_MAX)
    driver = Driver(database, network)
    try:
        async with working(worker, network, stopping):
            await _silent(driver, cards)
            seconds = await _evenly(driver, ORDINARY)
    finally:
        await _forget(postgres)
    median_max, last_max = PROMISED if os.environ.get("QUIET") else BUSY
    assert statistics.median(seconds) <= median_max, seconds
    assert seconds[int(0.99 * ORDINARY)] <= last_max, seconds
    assert 0 < network.open_max <= CALLS_MAX


async def _silent(driver: Driver, cards: int) -> None:
    """So many silent cards at once, as far as the pool has connections: who waits for one too long is refused."""
    numbers = iter(range(cards))

    async def one_after_the_other() -> None:
        for _ in numbers:
            await driver.charge(str(uuid7()), "tok_silent")

    await asyncio.gather(*(one_after_the_other() for _ in range(8)))


async def _evenly(driver: Driver, payments: int) -> list[float]:
    """How long so many payments took, one after the other, from their intent to their charge; the quickest first."""
    order_ids = [str(uuid7()) for _ in range(payments)]

    async def ordinary(number: int) -> None:
        await asyncio.sleep(number / PER_SECOND)
        await driver.charge(order_ids[number])

    async def took() -> list[float] | None:
        await asyncio.sleep(0.1)
        async with driver.database.single() as once:
            rows = await once.all(_TOOK, order_ids=order_ids)
        return [float(row.seconds) for row in rows] if len(rows) == payments else None

    await asyncio.gather(*map(ordinary, range(payments)))
    found = await eventually(took, seconds_max=30)
    assert found is not None
    return found


async def _forget(postgres: Postgres) -> None:
    connection = await asyncpg.connect(postgres.superuser_url("payment").replace("+asyncpg", ""))
    await connection.execute(FORGET)
    await connection.close()


async def test_a_call_lingers_where_later_attempts_hold_their_places() -> None:
    """A network that takes longer than a moment for each answer is waited for, although later attempts hold theirs."""
    held = Places(8, lambda: None)
    for _ in range(held.repeated_max):
        held.take(LATER)
    slow, late = held.take(1), held.take(1)
    async with slow.call():
        await asyncio.sleep(LONG_SECONDS)
    with pytest.raises(TimeoutError):
        async with late.call():
            await asyncio.sleep(2)
    assert (held.fresh, held.lingering, held.repeated) == (2, 1, 3)
    slow.leave()
    late.leave()
    assert (held.fresh, held.lingering, held.repeated) == (0, 0, 3)


async def test_a_call_that_lingers_makes_room_for_a_new_one() -> None:
    """As long as later attempts leave places of theirs."""
    freed: list[bool] = []
    held = Places(8, lambda: freed.append(True))
    lingering = held.take(FIRST_ATTEMPTS)
    async with lingering.call():
        assert held.fresh_room == 4
        await asyncio.sleep(LONG_SECONDS)
        assert (held.fresh_room, held.repeated_room, freed) == (5, 2, [True])
    lingering.leave()
    assert (held.fresh_room, held.repeated_room) == (5, 3)


@pytest.mark.parametrize(
    ("attempts", "order", "index"),
    [("< 2", "attempts, next_attempt_at DESC", "fresh"), (">= 2", "next_attempt_at", "repeated")],
)
async def test_a_claim_reads_an_index_and_no_further_than_it_is_due(
    postgres: Postgres, owner_url: object, attempts: str, order: str, index: str
) -> None:
    """Not the payments that are settled, nor those that are due later."""
    assert owner_url
    connection = await asyncpg.connect(postgres.superuser_url("payment").replace("+asyncpg", ""))
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(
            """
            INSERT INTO payments (payment_id, order_id, state, amount_minor, currency_code, traceparent, tracestate)
            SELECT gen_random_uuid(), 'settled ' || number, 'CHARGED', $1, 'EUR', '', ''
            FROM generate_series(1, 20000) AS number
            """,
            PRICE,
        )
        await connection.execute(
            """
            INSERT INTO payments (payment_id, order_id, state, amount_minor, currency_code, card_token, traceparent,
                                  tracestate, attempts, next_attempt_at)
            SELECT gen_random_uuid(), 'open ' || number, 'CHARGING', 1, 'EUR', 'tok_visa', '', '',
                   CASE number % 100 WHEN 0 THEN 2 ELSE 0 END,
                   clock_timestamp() + make_interval(secs => number - 4000) FROM generate_series(1, 8000) AS number
            """
        )
        await connection.execute("ANALYZE payments")
        plan = "\n".join(row[0] for row in await connection.fetch(PLAN.format(attempts=attempts, order=order)))
    finally:
        await transaction.rollback()
        await connection.close()
    assert f"using ix_payments_{index} " in plan
    assert "(next_attempt_at <= statement_timestamp())" in plan.partition("Index Cond:")[2]
    assert "Sort" not in plan


def test_the_worker_opens_no_more_calls_than_that() -> None:
    """As the service is set up."""
    assert PaymentSettings.model_fields["card_worker_concurrency_max"].default == CALLS_MAX
