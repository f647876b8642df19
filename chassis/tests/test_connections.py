"""Connections that go silent: whoever waits for one is told in time, and goes on with a new one."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from chassis import connections, kafka
from chassis.database import Database, Sql, Transaction, is_overdue, is_transient
from chassis.relay import Relay
from chassis.settings import ServiceSettings
from chassis.testing import eventually
from chassis.tests.network import BOTH, Network, network
from chassis.tests.surroundings import INSERT_EFFECT, OwnDatabase, Server, Topic, effects, publish, running, values

ONE_WAY = (("to_server",), ("to_client",))
# The limits are long; the tests are not.
SECONDS_MAX = 0.4


@pytest.fixture
async def between(
    postgres: Server, own_database: OwnDatabase, database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Network]:
    """The network between the chassis and its database, with limits that a test can outwait."""
    monkeypatch.setattr(connections, "ANSWER_SECONDS_MAX", SECONDS_MAX)
    monkeypatch.setattr(connections, "CONNECT_SECONDS_MAX", SECONDS_MAX)
    async with network(postgres.port) as carried:
        yield carried
    # The server has not heard that anybody left.
    await own_database.end_sessions()


@asynccontextmanager
async def through(between: Network, own_database: OwnDatabase, pool_size: int = 8) -> AsyncGenerator[Database]:
    url = own_database.url.get_secret_value()
    host, _, name = url.rpartition("@")
    database = Database(SecretStr(f"{host}@127.0.0.1:{between.port}/{name.rpartition('/')[2]}"), pool_size)
    try:
        yield database
    finally:
        await database.close()


async def note(transaction: Transaction, subject: str = "a", sequence: int = 1) -> None:
    await transaction.run(INSERT_EFFECT, subject=subject, sequence=sequence, message_id=None)


async def open_all(database: Database, number: int) -> None:
    """Have so many connections open, and idle."""
    together = asyncio.Barrier(number)

    async def change(_transaction: Transaction) -> None:
        await together.wait()

    await asyncio.gather(*(database.unit_of_work(change) for _ in range(number)))


async def failure_of(work: Awaitable[Any], *, seconds_max: float = 2 * SECONDS_MAX) -> BaseException:
    """What the work raises, in time."""
    async with asyncio.timeout(seconds_max + 1):
        with pytest.raises(Exception) as failure:
            await work
    assert not isinstance(failure.value, TimeoutError) or "answer" in str(failure.value)
    return failure.value


@pytest.mark.parametrize("ways", [BOTH, *ONE_WAY])
async def test_the_first_who_meets_a_silent_connection_is_the_last(
    between: Network, own_database: OwnDatabase, database: Database, ways: Collection[str]
) -> None:
    """One wait, an outage and no defect, and then work is done: the connections that are as old are not used again."""
    async with through(between, own_database) as distant:
        await open_all(distant, 8)
        between.swallow(ways)
        failure = await failure_of(distant.unit_of_work(note))
        assert is_transient(failure) and not is_overdue(failure)
        began = time.monotonic()
        for sequence in range(8):
            await distant.unit_of_work(note, "b", sequence)
        assert time.monotonic() - began < SECONDS_MAX
    assert [subject for subject, _ in await effects(database)].count("b") == 8


async def at_begin(transaction: Transaction, between: Network) -> None:
    """Nothing: the network is silent already."""


async def at_a_statement(transaction: Transaction, between: Network) -> None:
    await note(transaction)
    between.swallow()
    await note(transaction, sequence=2)


async def at_many(transaction: Transaction, between: Network) -> None:
    """More than the buffers of two sockets hold: the driver waits for room to write."""
    between.swallow()
    rows = [{"subject": "x" * 100_000, "sequence": number, "message_id": None} for number in range(400)]
    await transaction.many(INSERT_EFFECT, rows)


async def at_commit(transaction: Transaction, between: Network) -> None:
    await note(transaction)
    between.swallow()


async def at_rollback(transaction: Transaction, between: Network) -> None:
    await note(transaction)
    between.swallow()
    raise ConnectionError("the handler's own")


@pytest.mark.parametrize("when", [at_begin, at_a_statement, at_many, at_commit, at_rollback])
async def test_no_step_of_a_unit_of_work_waits_without_an_end(
    between: Network,
    own_database: OwnDatabase,
    database: Database,
    when: Callable[[Transaction, Network], Awaitable[None]],
) -> None:
    """Whichever statement meets the silence, its wait ends, nothing of the work is left, and the next is done."""
    async with through(between, own_database, pool_size=1) as distant:
        await open_all(distant, 1)
        if when is at_begin:
            between.swallow()
        assert is_transient(await failure_of(distant.unit_of_work(when, between)))
        await distant.unit_of_work(note, "b")
    assert await effects(database) == [("b", 1)]


async def test_closing_an_old_statement_has_an_end_too(
    between: Network, own_database: OwnDatabase, database: Database
) -> None:
    """The driver keeps a hundred prepared statements and closes the oldest, without a limit of its own."""
    async with through(between, own_database, pool_size=1) as distant:

        async def ask(number: int) -> None:
            async with distant.single() as once:
                await once.all(Sql("SELECT number", f"SELECT {number} + CAST(:one AS int)"), one=1)

        for number in range(105):
            await ask(number)
        between.swallow()
        assert is_transient(await failure_of(ask(1_000)))
        await ask(1_001)


async def test_new_connections_that_stay_silent_are_given_up_too(
    between: Network, own_database: OwnDatabase, database: Database
) -> None:
    """A port that is open and says nothing: each try has its end, and the first after the silence succeeds."""
    async with through(between, own_database) as distant:
        between.swallow(new=True)
        for _ in range(2):
            assert is_transient(await failure_of(distant.unit_of_work(note)))
        between.carry()
        await distant.unit_of_work(note)
    assert await effects(database) == [("a", 1)]


async def test_many_who_wait_on_a_dead_pool_all_go_on(
    between: Network, own_database: OwnDatabase, database: Database
) -> None:
    """All connections are silent, and more wait for one: those who try again are done soon, however many they are."""

    async def persist(distant: Database, sequence: int) -> None:
        while True:
            try:
                return await distant.unit_of_work(note, "a", sequence)
            except ConnectionError:
                await asyncio.sleep(0.05)

    async with through(between, own_database) as distant:
        await open_all(distant, 8)
        between.swallow()
        async with asyncio.timeout(5 * SECONDS_MAX + 2):
            await asyncio.gather(*(persist(distant, sequence) for sequence in range(20)))
    assert sorted(sequence for _, sequence in await effects(database)) == list(range(20))


async def test_who_leaves_a_silent_connection_leaves_at_once(
    between: Network, own_database: OwnDatabase, database: Database
) -> None:
    """A reader who hangs up waits for nothing, and nothing is left of it: no task, no place in the pool."""
    async with through(between, own_database, pool_size=1) as distant:
        await open_all(distant, 1)
        between.swallow()
        reading = asyncio.create_task(effects(distant))
        await asyncio.sleep(0.05)
        tasks = asyncio.all_tasks()
        reading.cancel()
        began = time.monotonic()
        await asyncio.wait({reading})
        assert await effects(distant) == []
        assert time.monotonic() - began < SECONDS_MAX / 2
        assert not {task for task in asyncio.all_tasks() - tasks if "_cancel" in str(task.get_coro())}


async def test_the_end_does_not_wait_for_silent_connections(between: Network, own_database: OwnDatabase) -> None:
    """Closing lets those who work finish, for a while, and then cuts them off."""
    async with through(between, own_database, pool_size=2) as distant:
        await open_all(distant, 2)
        between.swallow()
        held = asyncio.create_task(distant.unit_of_work(note))
        await asyncio.sleep(0)
        began = time.monotonic()
        await distant.close()
        assert time.monotonic() - began < 2 * SECONDS_MAX
        await failure_of(held)


async def test_a_statement_that_was_left_holds_no_lock_for_long(database: Database, own_database: OwnDatabase) -> None:
    """Whoever waits for the server no more has closed the connection; the server notices although it is at work."""

    async def take_long(transaction: Transaction) -> None:
        await transaction.all(Sql("SELECT pg_sleep", "SELECT pg_sleep(4)"))

    async def work() -> None:
        async with database.transaction() as transaction:
            await note(transaction)
            await take_long(transaction)

    working = asyncio.create_task(work())
    await eventually(own_database.open_transactions)
    working.cancel()
    await asyncio.wait({working})

    async def is_over() -> bool:
        return await own_database.open_transactions() == 0

    await eventually(is_over, seconds_max=2.5)


async def test_a_normal_wait_is_ended_by_the_server_and_not_by_us(database: Database) -> None:
    """Our own end lies above the server's limits, so that a slow statement or a lock is told as what it is."""
    for setting in ("statement_timeout", "lock_timeout"):
        async with database.single() as once:
            row = await once.first(
                Sql("SELECT pg_settings", "SELECT CAST(setting AS int) FROM pg_settings WHERE name = :name"),
                name=setting,
            )
        assert row is not None
        assert row[0] / 1000 + 1 < connections.ANSWER_SECONDS_MAX
    assert connections.ANSWER_SECONDS_MAX + connections.CONNECT_SECONDS_MAX < 15


async def test_events_are_published_past_silent_connections(
    between: Network, own_database: OwnDatabase, database: Database, topic: Topic, settings: ServiceSettings
) -> None:
    """Every connection goes silent under load: the relay meets one, and publishes everything all the same."""
    stopping = asyncio.Event()
    async with through(between, own_database) as distant:
        await open_all(distant, 8)
        relay = Relay(
            distant, kafka.producer(settings, "relay"), source="test", stopping=stopping, poll_interval_seconds=0.05
        )
        async with running(relay.run, stopping):
            await publish(distant, topic, "before")
            await eventually(topic.records)
            with capture_logs():
                # Those that were used last are used next.
                between.swallow(links=None)
                await publish(database, topic, "a", range(1, 13))

                async def all_there() -> bool:
                    return set(values(await topic.records(), "a")) == set(range(1, 13))

                await eventually(all_there, seconds_max=15)


async def test_a_ping_says_no_while_the_pool_is_dead(
    between: Network, own_database: OwnDatabase, database: Database
) -> None:
    """A new connection would work, but nobody has one: that is not ready."""
    async with through(between, own_database, pool_size=2) as distant:
        await open_all(distant, 2)
        await distant.ping()
        between.swallow(new=True)
        assert is_transient(await failure_of(distant.ping()))
        between.carry()
        await distant.ping()
