"""Keys that wait: each in its order and by itself, few at a time, and no other key is held up."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value
from structlog.testing import capture_logs

from chassis import kafka, progress, retries, waiting_keys
from chassis.database import Database, Limits, Sql, Transaction
from chassis.kafka import Producer
from chassis.messages import Envelope
from chassis.retries import Cause
from chassis.settings import ServiceSettings
from chassis.testing import eventually, figure
from chassis.tests.group import LOCK_EFFECT, Group, lock_and_note
from chassis.tests.surroundings import (
    Topic,
    effects,
    event,
    note_effect,
    running,
    send,
    send_together,
)
from chassis.waiting_keys import WaitingKey, WaitingKeys

OVERDUE = Cause.LOCKED.value
IS_WAITED_FOR = Sql(
    "SELECT pg_stat_activity", "SELECT pid FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
)
# What the tests wait for locks instead of seconds.
QUICK = 0.1


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts wait briefly for locks, and follow each other soon."""
    monkeypatch.setattr(retries, "LOCK_SECONDS", QUICK)
    monkeypatch.setattr(retries, "BATCH_LOCK_SECONDS", QUICK)
    monkeypatch.setattr(retries, "RETRY_SECONDS_MAX", QUICK)


@asynccontextmanager
async def locked(database: Database, *subjects: str) -> AsyncGenerator[None]:
    """Somebody holds the rows of these aggregates, which exist, as `SELECT … FOR UPDATE` in psql does."""
    async with database.transaction() as first:
        for subject in subjects:
            await note_effect(first, Int64Value(), event(subject, 0))
    async with database.transaction() as other:
        for subject in subjects:
            await other.all(LOCK_EFFECT, subject=subject)
        yield


async def applied(database: Database, subject: str) -> list[int]:
    """The versions of an aggregate that were applied, in that order."""
    return [sequence for found, sequence in await effects(database) if found == subject and sequence]


@pytest.mark.usefixtures("no_patience")
async def test_what_comes_later_under_a_key_waits_behind_it(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """A locked key's messages queue up, those of another key in the same partition go on, the offset stays below."""
    async with running(group.member(lock_and_note, batch_max=2, attempts_max=1).run, stopping):
        async with locked(database, "a"):
            await send_together(producer, topic, event("a", 1), event("b", 1))
            await send_together(producer, topic, event("a", 2), event("b", 2), event("a", 3), event("b", 3))
            await eventually(lambda: is_applied(database, "b", 3))
            assert await applied(database, "a") == []
            await asyncio.sleep(1.1)
            assert await group.committed() == 0
        await eventually(lambda: is_applied(database, "a", 3))
    assert await applied(database, "a") == await applied(database, "b") == [1, 2, 3]
    assert await topic.dead.records() == []
    assert await group.committed() == 6


async def is_applied(database: Database, subject: str, number: int) -> bool:
    return len(await applied(database, subject)) >= number


@pytest.mark.usefixtures("no_patience")
async def test_a_failing_key_pauses_no_partition(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """While one key is tried again and again, its partition brings other keys; its own messages queue up."""
    may_die = asyncio.Event()

    async def handler(transaction: Transaction, event: Message, envelope: Envelope) -> None:
        await note_effect(transaction, event, envelope)
        if (envelope.subject, envelope.sequence) == ("bad", 1) and not may_die.is_set():
            raise LookupError

    async with running(group.member(handler, attempts_max=1000).run, stopping):
        await send_together(producer, topic, event("bad", 1), event("good", 1))
        await eventually(lambda: is_applied(database, "good", 1))
        for sequence in (2, 3, 4):
            await send_together(producer, topic, event("bad", sequence), event("good", sequence))
            await eventually(lambda sequence=sequence: is_applied(database, "good", sequence), seconds_max=2)
        assert await applied(database, "bad") == []
        may_die.set()
        await eventually(lambda: is_applied(database, "bad", 4))
    assert await applied(database, "bad") == [1, 2, 3, 4]


async def test_the_order_of_a_key_is_not_given_up_for_several_locks(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    settings: ServiceSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A statement that waits for lock after lock, each within its limit, runs out of time, and that is no failure."""
    monkeypatch.setattr(retries, "STATEMENT_SECONDS", 0.2)
    monkeypatch.setattr(retries, "BATCH_STATEMENT_SECONDS", 0.2)
    monkeypatch.setattr(retries, "RETRY_SECONDS_MAX", 0.05)
    rows = [f"row {number}" for number in range(4)]
    lock_all = Sql("SELECT effects", "SELECT number FROM effects WHERE subject LIKE 'row%' ORDER BY subject FOR UPDATE")
    ended, errors = asyncio.Event(), defaultdict[str, int](int)
    somebody = Database(settings.database_url)

    async def handler(transaction: Transaction, event: Message, envelope: Envelope) -> None:
        try:
            await transaction.all(lock_all)
        except asyncpg.PostgresError as error:
            errors[type(error).__name__] += 1
            raise
        await note_effect(transaction, event, envelope)

    async def hold_again_and_again(subject: str) -> None:
        while not ended.is_set():
            async with somebody.transaction() as other:
                await other.all(LOCK_EFFECT, subject=subject)
                while not await kafka.wait(ended, 0.01) and not await other.all(IS_WAITED_FOR):
                    pass
                # One that waits gets the row after a while, and meets the next.
                await kafka.wait(ended, 0.1)

    async with database.transaction() as first:
        for subject in rows:
            await note_effect(first, Int64Value(), event(subject, 0))
    async with running(group.member(handler, attempts_max=1).run, stopping):
        holding = [asyncio.create_task(hold_again_and_again(subject)) for subject in rows]
        await asyncio.sleep(0.1)
        await send(producer, topic, event("a", 1), event("a", 2))
        await eventually(lambda: errors["QueryCanceledError"] >= 3 and errors["LockNotAvailableError"] >= 2)
        assert await applied(database, "a") == []
        ended.set()
        await asyncio.gather(*holding)
        await somebody.close()
        await eventually(lambda: is_applied(database, "a", 2))
    assert await applied(database, "a") == [1, 2]
    assert await topic.dead.records() == []


def test_a_statement_s_time_is_held_against_it_only_without_patience_for_locks() -> None:
    """Who took the time is open after a first time-out; the next attempt waits for no lock, and so it tells."""
    waiting = WaitingKey[int](b"a", 0.0)
    assert retries.cause(asyncpg.QueryCanceledError(), had_patience=True) is Cause.LOCKED
    assert retries.alone(waiting, 1).lock_seconds > retries.DOUBT_LOCK_SECONDS
    waiting.is_in_doubt = True
    assert retries.alone(waiting, 1) == Limits(retries.DOUBT_LOCK_SECONDS, retries.STATEMENT_SECONDS)
    assert retries.cause(asyncpg.QueryCanceledError(), had_patience=False) is Cause.FAILED


@pytest.mark.parametrize(
    "error", [asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError]
)
def test_what_another_transaction_does_is_never_the_message_s_failure(error: type[asyncpg.PostgresError]) -> None:
    """A lock, a deadlock, a serialization failure: whatever the patience was."""
    assert {retries.cause(error(), had_patience=patience) for patience in (True, False)} == {Cause.LOCKED}


def test_the_pause_between_tries_has_an_end() -> None:
    """After thousands of tries it is what it was after ten: it neither grows nor overflows."""
    assert max(retries.pause_seconds(tries) for tries in (1, 10, 1_024, 100_000)) <= retries.RETRY_SECONDS_MAX


def test_many_waiting_keys_share_the_patience_of_one() -> None:
    """A thousand locked keys are gone through in less than a minute, and a batch does not wait for each of them."""
    waiting = WaitingKey[int](b"a", 0.0, tries=1)
    assert retries.alone(waiting, 1).lock_seconds == retries.LOCK_SECONDS
    assert retries.alone(waiting, 1000).lock_seconds * 1000 / waiting_keys.AGAIN_AT_ONCE < 60
    assert retries.of_batch(1000).lock_seconds == retries.LOCK_SECONDS_MIN


@pytest.mark.usefixtures("no_patience")
async def test_a_partition_is_read_ahead_of_what_waits_only_so_far(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the bound that partition waits, others go on; when the key goes on, so does its partition."""
    monkeypatch.setattr(progress, "READ_AHEAD_MAX", 40)
    async with running(group.member(lock_and_note, batch_max=2).run, stopping):
        async with locked(database, "a"):
            await send_together(producer, topic, event("a", 1), event("b", 1))
            await eventually(lambda: is_applied(database, "b", 1))
            for sequence in range(2, 62):
                await send_together(producer, topic, event("b", sequence))
            beside = [each for each in map(chr, range(ord("c"), ord("z"))) if await partition_of(producer, topic, each)]
            await eventually(lambda: is_applied(database, "b", 30))
            await send(producer, topic, *(event(subject, 1) for subject in beside))
            for subject in beside:
                await eventually(lambda subject=subject: is_applied(database, subject, 1))
            assert 30 <= len(await applied(database, "b")) < 40
            await eventually(lambda: has_committed(group, len(beside)))
        await eventually(lambda: is_applied(database, "b", 61))
    assert await applied(database, "b") == list(range(1, 62))


async def has_committed(group: Group, number: int) -> bool:
    return await group.committed() == number


async def partition_of(producer: Producer, topic: Topic, subject: str) -> int:
    return await producer.partition(topic.name, subject.encode())


@pytest.mark.usefixtures("no_patience")
async def test_what_waits_is_lag_and_is_named(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """Gauges say how much waits and for how long, the log which keys, and when they go on."""

    def lag() -> float | None:
        return figure("shop.consumer.lag", group=group.name)

    figure("shop.consumer.lag")
    with capture_logs() as logs:
        async with running(group.member(lock_and_note).run, stopping):
            async with locked(database, "a"):
                await send_together(producer, topic, event("a", 1), event("b", 1), event("a", 2))
                await eventually(lambda: is_applied(database, "b", 1))
                await eventually(lambda: lag() == 2)
                assert figure("shop.consumer.waiting_keys", group=group.name) == 1
                await eventually(lambda: (figure("shop.consumer.waiting_age", group=group.name) or 0) > QUICK)
            await eventually(lambda: is_applied(database, "a", 2))
            await eventually(lambda: lag() == 0)
            assert figure("shop.consumer.waiting_keys", group=group.name) == 0
            assert figure("shop.consumer.waiting_age", group=group.name) == 0
    alone = [log for log in logs if log["event"] == OVERDUE and "order_id" in log]
    assert alone and all((log["order_id"], log["key"], log["offset"]) == ("a", "a", 0) for log in alone)
    [goes_on] = [log for log in logs if log["event"] == "a key goes on"]
    assert goes_on["order_id"] == "a"


@pytest.mark.parametrize("how", ["partitions move", "the process stops"])
async def test_what_waits_for_a_lock_is_given_up_quickly(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group, how: str
) -> None:
    """An attempt that waits for seconds is cancelled; nothing from the waiting message on is committed."""
    member = group.member(lock_and_note)
    async with running(member.run, stopping) as task, locked(database, "a"):
        await send_together(producer, topic, event("b", 1), event("a", 1), event("b", 2), event("a", 2))
        await eventually(lambda: is_applied(database, "b", 2))
        with capture_logs() as logs:
            await eventually(lambda: any(log["event"] == OVERDUE for log in logs))
        began = time.monotonic()
        if how == "partitions move":
            await member.settle()
        else:
            stopping.set()
            await eventually(task.done)
        assert time.monotonic() - began < 2
        assert await group.committed() == 1
    assert await applied(database, "a") == []


async def test_a_key_costs_no_task_and_few_are_tried_at_once() -> None:
    """Thousands of keys, each tried again and again: two first tries and two others side by side, each in its order."""
    done: defaultdict[bytes, list[int]] = defaultdict(list)
    at_work = most = 0

    async def attempt(waiting: WaitingKey[int]) -> float | None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1
        waiting.tries += 1
        return None if waiting.tries > 1 else 0.0

    keys = WaitingKeys[int](attempt, lambda message: done[b"%d" % (message % 2_000)].append(message // 2_000))
    before = len(asyncio.all_tasks())
    for message in range(4_000):
        keys.wait(b"%d" % (message % 2_000), message)
    assert len(keys) == 2_000
    assert len(asyncio.all_tasks()) - before <= waiting_keys.FIRST_AT_ONCE
    await eventually(lambda: not keys)
    assert all(found == [0, 1] for found in done.values())
    assert len(done) == 2_000
    assert most <= waiting_keys.FIRST_AT_ONCE + waiting_keys.AGAIN_AT_ONCE
    await eventually(lambda: len(asyncio.all_tasks()) == before)


async def test_a_key_that_was_given_up_is_not_done() -> None:
    """An attempt that ends too late tells nobody, and its key may wait anew meanwhile."""
    done: list[int] = []
    works, may_end = asyncio.Event(), asyncio.Event()

    async def attempt(_waiting: WaitingKey[int]) -> float | None:
        works.set()
        await may_end.wait()
        return None

    keys = WaitingKeys[int](attempt, done.append)
    keys.wait(b"a", 1)
    await works.wait()
    giving_up = asyncio.create_task(keys.give_up())
    await asyncio.sleep(0)
    assert b"a" not in keys
    may_end.set()
    await giving_up
    assert done == []
    keys.wait(b"a", 2)
    await eventually(lambda: done == [2])


async def test_a_defect_of_an_attempt_is_raised_where_the_member_looks() -> None:
    """It must end the process: a task that nobody looks at would leave its key waiting for ever, in silence."""

    async def attempt(_waiting: WaitingKey[int]) -> float | None:
        raise ZeroDivisionError

    keys = WaitingKeys[int](attempt, lambda _message: None)
    keys.check()
    keys.wait(b"a", 1)
    await asyncio.sleep(0.01)
    with pytest.raises(ZeroDivisionError):
        keys.check()
