"""What follows from an error of the database: each SQLSTATE and each driver's error, met on a real server."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from asyncpg.exceptions._base import PostgresMessageMeta
from google.protobuf.wrappers_pb2 import Int64Value
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from chassis import database_errors, kafka
from chassis.consumer import Consumer
from chassis.database import Database, Sql, Transaction, is_locked, is_overdue, is_transient
from chassis.database_errors import SQLSTATES, Unavailable, Verdict, closes, reason
from chassis.dead_letters import DeadLetters
from chassis.kafka import Producer
from chassis.relay import Relay
from chassis.router import Subscription
from chassis.settings import ServiceSettings
from chassis.testing import eventually
from chassis.tests.surroundings import (
    INSERT_EFFECT,
    OwnDatabase,
    Topic,
    all_done,
    effects,
    event,
    note_effect,
    publish,
    running,
    send,
    values,
)

# These are not errors: success, warnings, nothing found.
NO_ERRORS = ("00", "01", "02")
OUTAGES = (
    *("08000", "08003", "08006", "08P01", "25006", "25P03", "25P04", "53000", "53100", "53200", "53300"),
    *("57P01", "57P02", "57P03", "57P05", "58000", "58030", "58P01", "XX000", "XX001", "XX002"),
)
NO_OUTAGES = (
    *("0A000", "22012", "22P02", "23502", "23505", "23514", "25001", "25P02", "26000", "42501", "42601", "42703"),
    *("42P01", "42P05", "53400", "54000", "54001", "55000", "55006", "P0001", "P0002", "XY123"),
)
RAISE = Sql("SELECT raised", "SELECT raised(:sqlstate)")
PID = Sql("SELECT pg_backend_pid", "SELECT pg_backend_pid() AS pid")


@pytest.fixture
async def raising(database: Database, own_database: OwnDatabase) -> AsyncGenerator[Database]:
    """A database that fails as it is told to."""
    await own_database.ask(
        "CREATE FUNCTION raised(code text) RETURNS void LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'as it was asked to' USING ERRCODE = code; END $$"
    )
    yield database
    await own_database.ask("DROP FUNCTION raised(text)")


async def failure_of(database: Database, sql: Sql, **parameters: object) -> tuple[BaseException, int]:
    """What the statement raises inside a unit of work, and the server's process that raised it."""
    pids: list[int] = []

    async def change(transaction: Transaction) -> None:
        pids.extend(row.pid for row in await transaction.all(PID))
        await transaction.all(sql, **parameters)

    with pytest.raises(Exception) as failure:
        await database.unit_of_work(change)
    return failure.value, pids[0]


async def pid(database: Database) -> int:
    async with database.single() as once:
        return (await once.all(PID))[0].pid


def codes() -> list[str]:
    """Every SQLSTATE that the driver or the table knows."""
    known: dict[str, object] = PostgresMessageMeta._message_map  # pyright: ignore[reportPrivateUsage]
    return sorted(code for code in {*known, *SQLSTATES, *OUTAGES, *NO_OUTAGES} if len(code) == 5)


async def test_every_sqlstate_is_met_as_its_table_says(raising: Database) -> None:
    """Each is raised by a real server: what is to be waited for closes the connection, what is not leaves it."""
    for code in codes():
        if code[:2] in NO_ERRORS:
            continue
        error, met_by = await failure_of(raising, RAISE, sqlstate=code)
        assert isinstance(error, asyncpg.PostgresError), code
        found = SQLSTATES.get(code) or SQLSTATES.get(code[:2])
        assert found is not None or code == "XY123", f"{code} is not in the table"
        assert reason(error).verdict is (found.verdict if found else Verdict.FAILURE), code
        assert ((await pid(raising)) != met_by) is closes(error), code
        assert is_transient(error) is (code in OUTAGES) or code not in (*OUTAGES, *NO_OUTAGES), code
        assert is_locked(error) is (code == "55P03"), code
        assert is_overdue(error) is (code in ("55P03", "57014")), code


def test_every_class_has_a_reason() -> None:
    """Not one is left to chance, and each says why it is where it is."""
    for code, found in SQLSTATES.items():
        assert len(code) in (2, 5) and found.why
    for found in database_errors.DRIVER_ERRORS.values():
        assert found.why


async def test_wrong_use_of_the_driver_is_never_waited_for(database: Database) -> None:
    """A statement with a parameter that nobody gives: the driver refuses it before it is sent, today and tomorrow."""
    error, _ = await failure_of(database, Sql("wrong statement", "SELECT CAST($1 AS int)"))
    assert isinstance(error, asyncpg.InterfaceError)
    assert not is_transient(error)


async def test_two_statements_at_once_on_one_connection_are_a_defect(database: Database) -> None:
    """A handler that shares its transaction between tasks is wrong, and is told so instead of being tried for ever."""
    sleep = Sql("SELECT pg_sleep", "SELECT pg_sleep(0.05)")

    async def change(transaction: Transaction) -> None:
        await asyncio.gather(transaction.all(sleep), transaction.all(sleep))

    with pytest.raises(Exception) as failure:
        await database.unit_of_work(change)
    assert not is_transient(failure.value)
    assert await effects(database) == []


async def test_a_file_that_is_not_there_is_no_outage_of_the_database() -> None:
    """Of the system's errors the network's alone are waited for."""
    for error in (FileNotFoundError("x"), PermissionError("x"), OSError(28, "no space left on device")):
        assert not is_transient(error)
    for error in (ConnectionResetError("x"), TimeoutError("x"), Unavailable("x")):
        assert is_transient(error)


def frozen() -> None:
    """As SIGSTOP and SIGCONT do to the whole process: nothing of it runs meanwhile."""
    time.sleep(0.3)


@pytest.mark.parametrize("limit", ["idle_in_transaction_session_timeout", "transaction_timeout"])
async def test_a_process_that_was_frozen_inside_a_transaction_tries_again(database: Database, limit: str) -> None:
    """The server has ended the session by a limit, ours or its own: an outage, over with the next connection."""
    worked: list[BaseException] = []

    async def change(transaction: Transaction, freeze: Callable[[], None]) -> None:
        await transaction.run(INSERT_EFFECT, subject="a", sequence=1, message_id=None)
        # A timer that runs already is not set anew by another value, but by none and another.
        for value in ("0", "100ms"):
            await transaction.all(Sql("SET limit", f"SET LOCAL {limit} = '{value}'"))
        freeze()
        await transaction.run(INSERT_EFFECT, subject="a", sequence=2, message_id=None)

    with pytest.raises(Exception) as failure:
        await database.unit_of_work(change, frozen)
    worked.append(failure.value)
    assert is_transient(failure.value) and not is_overdue(failure.value)
    await database.unit_of_work(change, lambda: None)
    assert await effects(database) == [("a", 1), ("a", 2)]


async def test_after_a_failover_each_old_connection_costs_nothing(database: Database) -> None:
    """The sessions of before are on a server that takes no writes any more; one of them says so, and none is used."""
    together = asyncio.Barrier(4)

    async def demote(transaction: Transaction) -> None:
        await together.wait()
        await transaction.all(Sql("SET SESSION", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))

    async def change(transaction: Transaction) -> None:
        await transaction.run(INSERT_EFFECT, subject="a", sequence=1, message_id=None)

    await asyncio.gather(*(database.unit_of_work(demote) for _ in range(4)))
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as failure:
        await database.unit_of_work(change)
    assert is_transient(failure.value)
    for _ in range(4):
        await database.unit_of_work(change)
    assert len(await effects(database)) == 4


@asynccontextmanager
async def read_only(own_database: OwnDatabase, database: Database) -> AsyncGenerator[None]:
    """The server takes no writes, from one moment to the next, whoever is connected."""

    async def is_(setting: str) -> None:
        async def says() -> bool:
            async with database.single() as once:
                row = await once.first(Sql("SHOW setting", "SHOW default_transaction_read_only"))
            return row is not None and row[0] == setting

        await own_database.ask(f"ALTER SYSTEM SET default_transaction_read_only = {setting}")
        await own_database.ask("SELECT pg_reload_conf()")
        await eventually(says)

    await is_("on")
    try:
        yield
    finally:
        await is_("off")


async def test_a_database_that_takes_no_writes_is_waited_for(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    settings: ServiceSettings,
    stopping: asyncio.Event,
) -> None:
    """Under load, in the middle of a failover: no loop ends, no good message is buried, and all is done afterwards."""
    group = f"{topic}.group"
    hears = Consumer(
        database,
        kafka.consumer(settings, group),
        Subscription(group, (topic.name,), {Int64Value: note_effect}),
        DeadLetters(kafka.producer(settings, "dead"), stopping),
        stopping=stopping,
        attempts_max=2,
    )
    tells = Relay(
        database, kafka.producer(settings, "relay"), source="test", stopping=stopping, poll_interval_seconds=0.05
    )
    async with running(hears.run, stopping), running(tells.run, stopping):
        await send(producer, topic, event("a", 1))
        await all_done(database, 1)
        await publish(database, topic, "published")
        async with read_only(own_database, database):
            await send(producer, topic, *(event("a", sequence) for sequence in range(2, 10)))
            with pytest.raises(Exception) as failure:
                await publish(database, topic, "refused")
            assert is_transient(failure.value)
            with pytest.raises(Unavailable, match="read only"):
                await database.ping()
            await asyncio.sleep(0.5)
        await database.ping()
        await publish(database, topic, "b", [1, 2])
        await all_done(database, 12)
        assert values(await topic.records(), "b") == [1, 2]
    assert [sequence for subject, sequence in await effects(database) if subject == "a"] == list(range(1, 10))
    assert await topic.dead.records() == []


async def test_a_disk_that_fails_buries_no_message(
    database: Database, own_database: OwnDatabase, topic: Topic, producer: Producer, settings: ServiceSettings
) -> None:
    """The server's system fails the handler's statement for a while: the message waits, and is applied."""
    stopping, group = asyncio.Event(), f"{topic}.group"
    await own_database.ask(
        "CREATE FUNCTION failing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'could not read block 0' USING ERRCODE = (ARRAY['58030', 'XX000', 'XX001', '53100']) "
        "[1 + floor(random() * 4)::int]; END $$"
    )
    await own_database.ask("CREATE TRIGGER fails BEFORE INSERT ON effects FOR EACH ROW EXECUTE FUNCTION failing()")
    hears = Consumer(
        database,
        kafka.consumer(settings, group),
        Subscription(group, (topic.name,), {Int64Value: note_effect}),
        DeadLetters(kafka.producer(settings, "dead"), stopping),
        stopping=stopping,
        attempts_max=1,
    )
    try:
        async with running(hears.run, stopping):
            await send(producer, topic, event("a", 1), event("b", 1))
            await asyncio.sleep(0.5)
            await own_database.ask("DROP TRIGGER fails ON effects")
            await all_done(database, 2)
    finally:
        await own_database.ask("DROP TRIGGER IF EXISTS fails ON effects; ")
        await own_database.ask("DROP FUNCTION failing()")
    assert await topic.dead.records() == []


async def test_what_sqlalchemy_wraps_is_judged_as_what_is_inside(raising: Database, own_database: OwnDatabase) -> None:
    """The migrations' connection wraps the driver's errors in its own; a lock, an outage and a defect stay apart."""
    engine = create_async_engine(own_database.url.get_secret_value(), poolclass=NullPool)
    found: dict[str, Verdict] = {}
    for code in ("55P03", "57014", "25006", "58030", "40P01", "23505", "42601"):
        async with engine.connect() as connection:
            with pytest.raises(DBAPIError) as failure:
                await connection.execute(text("SELECT raised(:code)"), {"code": code})
        found[code] = reason(failure.value).verdict
    assert found == {code: (SQLSTATES.get(code) or SQLSTATES[code[:2]]).verdict for code in found}
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        await own_database.end_sessions()
        with pytest.raises(DBAPIError) as failure:
            await connection.execute(text("SELECT 1"))
    assert is_transient(failure.value)
    await engine.dispose()
