"""The unit of work: all or nothing, whoever stops waiting for it, and whatever happens to the connection."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import asyncpg
import pytest
from pydantic import SecretStr

from chassis import errors, telemetry
from chassis.database import Database, Sql, Transaction, is_locked, is_overdue, is_transient
from chassis.database_errors import Unavailable
from chassis.testing import Spans, attributes, eventually, is_child, served
from chassis.tests.surroundings import INSERT_EFFECT, OwnDatabase, effects
from conftest import free_port

SLEEP = Sql("SELECT pg_sleep", "SELECT pg_sleep(:seconds)")


async def note(transaction: Transaction, subject: str = "a", sequence: int = 1) -> None:
    await transaction.run(INSERT_EFFECT, subject=subject, sequence=sequence, message_id=None)


async def test_a_unit_of_work_commits_what_its_handler_did(database: Database) -> None:
    """What the handler returns comes back once its rows are there for everybody."""

    async def change(transaction: Transaction, subject: str) -> str:
        await note(transaction, subject)
        return "done"

    assert await database.unit_of_work(change, "a") == "done"
    assert await effects(database) == [("a", 1)]


async def test_an_error_in_a_handler_undoes_everything_it_did(database: Database) -> None:
    """Whatever is raised rolls back, and the connection is clean for the next one."""

    async def change(transaction: Transaction) -> None:
        await note(transaction)
        raise LookupError

    with pytest.raises(LookupError):
        await database.unit_of_work(change)
    assert await effects(database) == []


async def test_a_swallowed_error_is_no_commit(database: Database) -> None:
    """PostgreSQL answers the COMMIT of a failed transaction with ROLLBACK; nobody may take that for done."""

    async def change(transaction: Transaction) -> None:
        await note(transaction)
        with suppress(asyncpg.DivisionByZeroError):
            await transaction.run(Sql("SELECT nothing", "SELECT 1 / 0"))

    with pytest.raises(RuntimeError, match="nothing was committed"):
        await database.unit_of_work(change)
    assert await effects(database) == []


async def test_what_is_counted_is_counted_after_the_commit_and_never_for_a_rollback(database: Database) -> None:
    """A figure tells what happened, so an attempt that failed and was made again is one, not two."""
    counted: list[str] = []

    async def change(transaction: Transaction, outcome: str) -> None:
        transaction.after_commit(lambda: counted.append(outcome))
        await note(transaction)
        assert counted == []
        if outcome == "failed":
            raise LookupError

    with pytest.raises(LookupError):
        await database.unit_of_work(change, "failed")
    await database.unit_of_work(change, "applied")
    assert counted == ["applied"]


async def test_an_error_at_the_commit_undoes_everything(database: Database) -> None:
    """What is collected is written just before the commit; when that fails, nothing of the work is left."""

    async def fail(_transaction: Transaction, _rows: list[object]) -> None:
        raise LookupError

    async def change(transaction: Transaction) -> None:
        await note(transaction)
        transaction.collect(fail, "row")

    with pytest.raises(LookupError):
        await database.unit_of_work(change)
    assert await effects(database) == []


async def test_work_that_waits_for_a_connection_is_dropped_when_its_caller_leaves(own_database: OwnDatabase) -> None:
    """Under load the server would else work through what nobody waits for any more."""
    worked: list[str] = []

    async def change(transaction: Transaction, name: str) -> None:
        worked.append(name)

    narrow = Database(own_database.url, pool_size=1)
    try:
        async with narrow.transaction():
            waiting = asyncio.ensure_future(narrow.unit_of_work(change, "of nobody"))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait({waiting})
        await narrow.unit_of_work(change, "of somebody")
    finally:
        await narrow.close()
    assert worked == ["of somebody"]


@pytest.mark.parametrize("after_statements", [0, 1, 2, 3])
async def test_a_caller_that_hangs_up_never_leaves_a_half_done_transaction(
    database: Database, own_database: OwnDatabase, after_statements: int
) -> None:
    """Cancelled before, between or after its statements, the work is still done wholly, before the caller is told."""
    reached, may_go_on = asyncio.Event(), asyncio.Event()

    async def change(transaction: Transaction) -> None:
        for sequence in range(4):
            if sequence == after_statements:
                reached.set()
                await may_go_on.wait()
            await note(transaction, sequence=sequence)

    caller = asyncio.create_task(database.unit_of_work(change))
    await reached.wait()
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await effects(database) == [("a", sequence) for sequence in range(4)]
    assert await own_database.open_transactions() == 0


async def test_a_caller_that_hangs_up_during_a_statement_waits_for_it(
    database: Database, own_database: OwnDatabase
) -> None:
    """Cancelled in the middle of a statement, the work is awaited to its commit."""

    async def change(transaction: Transaction) -> None:
        await transaction.all(SLEEP, seconds=0.1)
        await note(transaction)

    caller = asyncio.create_task(database.unit_of_work(change))
    await eventually(own_database.open_transactions)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await effects(database) == [("a", 1)]
    assert await own_database.open_transactions() == 0


async def test_cancelling_at_any_await_leaves_all_or_nothing(database: Database, own_database: OwnDatabase) -> None:
    """Wherever a cancel strikes, no row is half there, no connection is lost and none comes back dirty."""

    async def change(transaction: Transaction, number: int) -> None:
        await note(transaction, f"{number}", 1)
        await note(transaction, f"{number}", 2)

    for turns in range(40):
        caller = asyncio.create_task(database.unit_of_work(change, turns))
        for _ in range(turns):
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait({caller})
    assert await own_database.open_transactions() == 0
    done = await effects(database)
    for number in range(40):
        assert done.count((f"{number}", 1)) == done.count((f"{number}", 2))
    # The pool still has all its connections.
    await asyncio.gather(*(database.unit_of_work(change, 100 + number) for number in range(20)))


async def test_the_span_of_a_unit_of_work_ends_after_its_commit(
    database: Database, own_database: OwnDatabase, spans: Spans
) -> None:
    """The span it is done under leads to the handler, the statements below it to where they are run."""

    async def place_order(transaction: Transaction) -> None:
        await note(transaction)

    await served(database, place_order)
    work, insert = spans.one("place_order"), spans.one("INSERT effects")
    assert is_child(insert, work)
    assert attributes(work)["code.function.name"].endswith("place_order")  # pyright: ignore - a string
    assert attributes(work)["code.file.path"] == "chassis/tests/test_database.py"
    assert attributes(insert)["code.function.name"] == "chassis.tests.test_database.note"
    assert attributes(insert)["db.system.name"] == "postgresql"
    assert attributes(insert)["db.query.summary"] == "INSERT effects"
    assert insert.end_time is not None
    assert work.end_time is not None
    assert insert.end_time < work.end_time


async def test_the_spans_of_a_rolled_back_attempt_are_not_exported(database: Database, spans: Spans) -> None:
    """A trace tells what was committed; of a failure the work's own span is left, and says why."""

    async def change(transaction: Transaction) -> None:
        await note(transaction)
        with telemetry.span("a step"):
            pass
        raise LookupError("no such thing")

    with pytest.raises(LookupError):
        await served(database, change)
    assert [span.name for span in spans.all()] == ["change"]
    assert spans.one("change").status.status_code is telemetry.StatusCode.ERROR
    assert attributes(spans.one("change"))["error.type"] == "LookupError"


async def test_a_refusal_leaves_the_status_of_its_span_unset(database: Database, spans: Spans) -> None:
    """The domain said no: an answer, not an error."""

    async def change(_transaction: Transaction) -> None:
        raise errors.WrongState("the order is closed")

    with pytest.raises(errors.WrongState):
        await served(database, change)
    assert spans.one("change").status.status_code is telemetry.StatusCode.UNSET


async def test_listeners_wake_after_the_commit_and_only_then(database: Database, own_database: OwnDatabase) -> None:
    """A worker that is woken finds the rows; a rollback wakes nobody."""
    woken: list[str] = []
    database.on_commit("work", woken.append)

    async def change(transaction: Transaction, *, fail: bool) -> None:
        transaction.notify("work", "a")
        transaction.notify("work", "a")
        await note(transaction)
        assert woken == []
        if fail:
            raise LookupError

    with pytest.raises(LookupError):
        await database.unit_of_work(change, fail=True)
    assert woken == []
    await database.unit_of_work(change, fail=False)
    assert woken == ["a"]
    database.off_commit("work", woken.append)


async def test_a_single_statement_needs_no_transaction(database: Database, own_database: OwnDatabase) -> None:
    """One statement commits by itself, and the connection it used has transactions again afterwards."""
    async with database.single() as once:
        await note(once)
        assert await own_database.open_transactions() == 0
    assert await effects(database) == [("a", 1)]
    opened: list[int] = []

    async def change(transaction: Transaction) -> None:
        await note(transaction)
        opened.append(await own_database.open_transactions())

    await database.unit_of_work(change)
    assert opened == [1]


async def test_a_session_has_a_statement_a_lock_and_an_idle_timeout(database: Database) -> None:
    """No statement, lock or forgotten transaction can hold others up for long."""
    for name, value in (
        ("statement_timeout", "5s"),
        ("lock_timeout", "3s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("transaction_timeout", "12s"),
    ):
        async with database.single() as once:
            row = await once.first(Sql("SHOW setting", f"SHOW {name}"))
        assert row is not None
        assert row[0] == value


async def test_a_lost_connection_is_replaced(database: Database, own_database: OwnDatabase) -> None:
    """When the server ends a session in the middle of the work, the work fails as transient and the next one runs."""

    async def change(transaction: Transaction) -> None:
        await note(transaction)
        await own_database.end_sessions()
        await note(transaction)

    with pytest.raises((asyncpg.PostgresError, Unavailable)) as failure:
        await database.unit_of_work(change)
    assert is_transient(failure.value)
    assert not is_overdue(failure.value)
    assert await effects(database) == []


async def error_of(work: Callable[[Transaction], object], database: Database) -> BaseException:
    async def change(transaction: Transaction) -> None:
        result = work(transaction)
        if asyncio.iscoroutine(result):
            await result

    with pytest.raises(Exception) as failure:
        await database.unit_of_work(change)
    return failure.value


async def test_a_session_that_ends_at_any_moment_is_the_world_s_fault(
    database: Database, own_database: OwnDatabase
) -> None:
    """While sessions are being ended, whatever a statement meets is a reason to try again, and nothing else."""

    async def change(transaction: Transaction) -> None:
        await note(transaction)

    over = False

    async def work() -> list[BaseException]:
        failures: list[BaseException] = []
        while not over:
            try:
                await database.unit_of_work(change)
            except Exception as failure:  # noqa: BLE001 - judged below
                failures.append(failure)
        return failures

    workers = [asyncio.create_task(work()) for _ in range(8)]
    for _ in range(10):
        await own_database.end_sessions()
    over = True
    failures = [failure for failures in await asyncio.gather(*workers) for failure in failures]
    assert failures
    assert [failure for failure in failures if not is_transient(failure)] == []


async def test_a_database_that_takes_nobody_is_the_world_s_fault(database: Database, own_database: OwnDatabase) -> None:
    """Refused by the server for whatever reason, a connection is tried again later."""
    await own_database.down()
    try:
        assert is_transient(await error_of(note, database))
    finally:
        await own_database.up()


async def test_a_database_without_a_free_connection_is_the_world_s_fault(
    database: Database, own_database: OwnDatabase
) -> None:
    """Too many connections: the server refuses ours while others hold theirs."""
    await own_database.ask(f"ALTER ROLE {own_database.NAME} CONNECTION LIMIT 0", database="postgres")
    try:
        assert is_transient(await error_of(note, database))
    finally:
        await own_database.ask(f"ALTER ROLE {own_database.NAME} CONNECTION LIMIT -1", database="postgres")


async def test_a_server_that_is_not_there_is_the_world_s_fault() -> None:
    """Nobody listens at the address."""
    database = Database(SecretStr(f"postgresql+asyncpg://nobody:secret@127.0.0.1:{free_port()}/nowhere"))
    assert is_transient(await error_of(note, database))
    await database.close()


async def test_a_full_pool_is_the_world_s_fault(own_database: OwnDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """All connections are in use for longer than a caller waits for one."""
    database = Database(own_database.url, pool_size=1)
    async with database.transaction():
        # Five seconds are long.
        monkeypatch.setattr("chassis.connections.CONNECT_SECONDS_MAX", 0.05)
        assert is_transient(await error_of(note, database))
    await database.close()


async def test_a_deadlock_is_the_world_s_fault(database: Database) -> None:
    """Two transactions that wait for each other: one of them is told to try again."""
    lock = Sql("SELECT lock", "SELECT pg_advisory_xact_lock(:key)")
    both_hold = asyncio.Barrier(2)

    async def change(transaction: Transaction, first: int, second: int) -> None:
        await transaction.all(lock, key=first)
        await both_hold.wait()
        await transaction.all(lock, key=second)

    results = await asyncio.gather(
        database.unit_of_work(change, 1, 2), database.unit_of_work(change, 2, 1), return_exceptions=True
    )
    [deadlock] = [result for result in results if result is not None]
    assert isinstance(deadlock, asyncpg.DeadlockDetectedError)
    assert is_transient(deadlock)
    assert not is_overdue(deadlock)


async def test_a_lock_and_a_statement_that_take_too_long_are_no_outage(database: Database) -> None:
    """Both are worth another try, as all that the world is at fault for, but the database answers others meanwhile."""
    lock = Sql("SELECT lock", "SELECT pg_advisory_xact_lock(1)")
    limit = Sql("SELECT set_config", "SELECT set_config(:name, '20ms', true)")

    async def wait_for_the_lock(transaction: Transaction) -> None:
        await transaction.all(limit, name="lock_timeout")
        await transaction.all(lock)

    async def take_long(transaction: Transaction) -> None:
        await transaction.all(limit, name="statement_timeout")
        await transaction.all(SLEEP, seconds=10)

    async with database.transaction() as holder:
        await holder.all(lock)
        locked = await error_of(wait_for_the_lock, database)
    slow = await error_of(take_long, database)
    assert is_transient(locked) and is_overdue(locked) and is_locked(locked)
    assert is_transient(slow) and is_overdue(slow) and not is_locked(slow)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT no_such_column FROM effects",
        "SELECT 1 / 0",
        "INSERT INTO effects (subject) VALUES ('a')",
    ],
)
async def test_a_wrong_statement_is_the_handler_s_fault(database: Database, statement: str) -> None:
    """The database answers; trying again for ever would help nobody."""
    failure = await error_of(lambda transaction: transaction.run(Sql("wrong statement", statement)), database)
    assert not is_transient(failure)


async def test_a_value_that_no_column_takes_is_the_handler_s_fault(database: Database) -> None:
    """The driver refuses a number that is too large; such a message must not block its partition for ever."""
    assert not is_transient(await error_of(lambda transaction: note(transaction, sequence=2**70), database))


async def test_a_refusal_and_a_bug_are_the_handler_s_fault() -> None:
    for error in (errors.WrongState("no"), KeyError("x"), ValueError("x")):
        assert not is_transient(error)
