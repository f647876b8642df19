"""The consumer: applies each event once in effect, in order per key, and is held up by no message for ever."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, Int64Value
from hypothesis import given, strategies
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from chassis import consumer, kafka, messages, retries, telemetry, waiting_keys
from chassis.database import Database, Sql, Transaction
from chassis.deliveries import batches
from chassis.kafka import Producer
from chassis.messages import Envelope
from chassis.settings import ServiceSettings
from chassis.testing import Spans, attributes, context, eventually, figure, is_child, linked
from chassis.tests.group import LOCK_EFFECT, Failing, Group
from chassis.tests.surroundings import (
    INSERT_EFFECT,
    Broker,
    Held,
    OwnDatabase,
    Record,
    Topic,
    all_done,
    effects,
    event,
    header,
    killed,
    note_effect,
    running,
    send,
    send_together,
    settings_of_nowhere,
)

OVERDUE = "a lock or a statement took too long"


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow each other at once."""
    monkeypatch.setattr(retries, "RETRY_SECONDS_MAX", 0.01)


async def test_an_event_that_comes_twice_is_applied_once(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group, spans: Spans
) -> None:
    """The repeat is known by its id, counted as a duplicate, and changes nothing."""
    first, second = event("a", 1), event("a", 2)
    await send(producer, topic, first, first, second)
    async with running(group.member().run, stopping):
        await all_done(database, 2)
    assert await effects(database) == [("a", 1), ("a", 2)]
    outcomes = [attributes(span)["shop.inbox.outcome"] for span in spans.named(f"process {topic} Int64Value")]
    assert outcomes == ["applied", "duplicate", "applied"]


async def test_copies_that_meet_in_a_batch_are_applied_once(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group, spans: Spans
) -> None:
    """The same event under three keys, a stranger's doing: one is applied, two are duplicates, in each group."""
    figure("shop.inbox.messages")
    copy = event("a", 1)
    await send_under(producer, topic, copy, b"one", b"two", b"three")
    async with running(group.member().run, stopping):
        await all_done(database, 1)
        await eventually(lambda: figure("shop.inbox.messages", group=group.name, outcome="duplicate") == 2)
    assert await effects(database) == [("a", 1)]
    outcomes = [attributes(span)["shop.inbox.outcome"] for span in spans.named(f"process {topic} Int64Value")]
    assert outcomes == ["applied", "duplicate", "duplicate"]
    assert figure("shop.inbox.messages", group=group.name, outcome="applied") == 1


async def test_copies_in_other_batches_and_partitions_are_duplicates_too(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """Whatever keys, partitions and batches the copies meet, and whatever lies between them, each is applied once."""
    copies = [event(subject, 1) for subject in "abc"]
    for partition in range(4):
        for order in (copies, copies[::-1]):
            keys = [f"{partition} {each.subject}".encode() for each in order]
            for each, key in zip(order, keys, strict=True):
                await send_under(producer, topic, each, key, key + b" again", partition=partition)
    async with running(group.member(batch_max=3).run, stopping):
        await eventually(lambda: handled(group, 48))
    assert sorted(await effects(database)) == [("a", 1), ("b", 1), ("c", 1)]


def handled(group: Group, number: int) -> bool:
    return (figure("shop.inbox.messages", group=group.name) or 0) >= number


async def send_under(producer: Producer, topic: Topic, sent: Envelope, *keys: bytes, partition: int = 0) -> None:
    """Send copies of an event in one batch, each under a key of its own."""
    batch = producer.client.create_batch()
    for key in keys:
        batch.append(key=key, value=sent.payload, timestamp=None, headers=messages.headers(sent))
    batch.close()
    await (await producer.client.send_batch(batch, topic.name, partition=partition))


async def test_a_crash_after_the_commit_and_before_the_offset_is_absorbed(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    settings: ServiceSettings,
    spans: Spans,
) -> None:
    """Database first, then offset: killed between the two, the messages come again and the inbox knows them."""
    await send(producer, topic, event("a", 1), event("b", 1))
    await killed(settings, "consumer", group.name, topic.name)
    done = await effects(database)
    assert done
    assert await group.committed() == 0
    await send(producer, topic, event("a", 2))
    async with running(group.member().run, stopping):
        await all_done(database, 3)
    assert sorted(await effects(database)) == [("a", 1), ("a", 2), ("b", 1)]
    outcomes = Counter(attributes(span)["shop.inbox.outcome"] for span in spans.named(f"process {topic} Int64Value"))
    assert outcomes == {"duplicate": len(done), "applied": 3 - len(done)}


async def test_the_offset_follows_the_commit(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While a handler works nothing is committed to Kafka; when it is done, all of it is, and nobody gets it again."""
    monkeypatch.setattr(consumer, "COMMIT_INTERVAL_SECONDS", 0.0)
    held = Held()
    await send(producer, topic, event("a", 1))
    async with running(group.member(held.handle).run, stopping):
        await held.works.wait()
        assert await group.committed() == 0
        held.may_end.set()
        await eventually(group.committed)
    assert await group.committed() == 1


async def test_what_waits_shares_a_transaction(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
) -> None:
    """Messages of different orders that wait together are applied by one commit, at most so many of them."""
    await send_together(producer, topic, *(event(f"order-{number}") for number in range(25)))
    async with running(group.member(batch_max=10).run, stopping):
        await all_done(database, 25)
    sizes = [row[0] for row in await own_database.ask("SELECT count(*) FROM effects GROUP BY xmin")]
    assert sorted(sizes) == [5, 10, 10]


async def test_the_order_of_a_key_is_kept(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """However the messages of many orders are cut into batches, each order's are applied in their order."""
    subjects = [f"order-{number}" for number in range(7)]
    for sequence in range(1, 11):
        await send(producer, topic, *(event(subject, sequence) for subject in subjects))
    async with running(group.member(batch_max=5).run, stopping):
        await all_done(database, 70)
    done = await effects(database)
    for subject in subjects:
        assert [sequence for found, sequence in done if found == subject] == list(range(1, 11))


async def test_a_batch_locks_orders_in_one_order(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
) -> None:
    """Within a transaction, orders are handled sorted, so that two batches cannot wait for each other in a circle."""
    await send_together(producer, topic, *(event(subject) for subject in "zyxwvutsrqponmlkjihgfedcba"))
    async with running(group.member().run, stopping):
        await all_done(database, 26)
    handled = await own_database.ask("SELECT string_agg(subject, '' ORDER BY number) FROM effects GROUP BY xmin::text")
    assert [row[0] for row in handled] == ["abcdefghijklmnopqrstuvwxyz"]


@given(
    strategies.lists(strategies.lists(strategies.sampled_from("abcde"), max_size=30), max_size=4),
    strategies.integers(1, 10),
)
def test_no_key_stands_twice_in_a_batch(partitions: list[list[str]], batch_max: int) -> None:
    """Whatever was fetched: batches are bounded, no key is twice in one, each partition is whole and in order."""
    fetched = [
        [record(number, offset, key.encode()) for offset, key in enumerate(keys)]
        for number, keys in enumerate(partitions)
    ]
    cut = list(batches(fetched, batch_max))
    for batch in cut:
        assert 0 < len(batch) <= batch_max
        assert len({found.key for found in batch}) == len(batch)
    for number, records in enumerate(fetched):
        assert [found for batch in cut for found in batch if found.partition == number] == records


def record(partition: int, offset: int, key: bytes) -> Record:
    return Record("topic", partition, offset, 0, 0, key, b"", None, 0, 0, ())


@pytest.mark.usefixtures("no_pauses")
async def test_one_bad_message_of_a_batch_harms_no_other(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """The batch is rolled back and its messages go one by one: each good one is applied once, the bad one dies."""
    handler = Failing(bad=100)
    await send_together(producer, topic, *(event(subject) for subject in ("a", "b", "bad", "c", "d")))
    async with running(group.member(handler.handle, attempts_max=3).run, stopping):
        await eventually(topic.dead.records)
        await send(producer, topic, event("bad", 2))
        await eventually(lambda: two(topic.dead))
    assert sorted(await effects(database)) == [("a", 1), ("b", 1), ("c", 1), ("d", 1)]


async def two(topic: Topic) -> bool:
    return len(await topic.records()) == 2


@pytest.mark.usefixtures("no_pauses")
async def test_a_handler_is_tried_so_often_and_then_the_message_is_dead(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """The retries are bounded, the dead letter says why and where it was, and the partition goes on."""
    handler = Failing(bad=4)
    bad = event("bad", 1)
    await send(producer, topic, bad, event("bad", 2))
    [sent, _] = await topic.records()
    async with running(group.member(handler.handle, attempts_max=3, batch_max=1).run, stopping):
        await all_done(database, 1)
    # Once with whatever waited beside it, three times alone; then its successor, which is handled.
    assert handler.calls["bad"] == 5
    assert await effects(database) == [("bad", 2)]
    [dead] = await topic.dead.records()
    assert (dead.key, dead.value) == (sent.key, sent.value)
    assert dead.headers[: len(sent.headers)] == sent.headers
    assert header(dead, "ce_id") == str(bad.id)
    assert (
        header(dead, "dead_reason") == "LookupError: 'cannot be handled'"
        or header(dead, "dead_reason") == "LookupError: cannot be handled"
    )
    assert header(dead, "dead_topic") == topic.name
    assert header(dead, "dead_partition") == str(sent.partition)
    assert header(dead, "dead_offset") == str(sent.offset)
    assert header(dead, "dead_group") == group.name
    assert header(dead, "dead_time")


@pytest.mark.usefixtures("no_pauses")
async def test_a_handler_that_recovers_is_not_given_up(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """A failure within the bound leaves no trace but the effect, once."""
    await send(producer, topic, event("a", 1))
    async with running(group.member(Failing(a=3).handle, attempts_max=3).run, stopping):
        await all_done(database, 1)
    assert await effects(database) == [("a", 1)]
    assert await topic.dead.records() == []


def poison(**changed: bytes | None) -> list[tuple[str, bytes | None]]:
    """The headers of an event, some of them changed; None removes one."""
    headers = dict(messages.headers(event("poison"))) | changed
    return [(name, value) for name, value in headers.items() if value is not None]


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [
        (poison(ce_id=None), b"", "header ce_id is missing"),
        (
            poison(ce_sequence=b"one"),
            b"",
            "header ce_sequence is malformed: not a whole number",
        ),
        (poison(ce_specversion=b"0.3"), b"", "header ce_specversion is malformed: not 1.0"),
        (poison(ce_type=b"shop.Unknown"), b"", "unknown type shop.Unknown"),
        (poison(), b"\xff", "google.protobuf.Int64Value does not decode: Error parsing message"),
        ([*poison(ce_subject=None), ("ce_subject", None)], b"", "header ce_subject is missing"),
        ([], None, "the payload is null"),
    ],
    ids=["missing header", "malformed", "other version", "unknown type", "undecodable", "null header", "empty"],
)
async def test_poison_is_dead_at_once_and_the_next_message_is_handled(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    headers: list[Any],
    value: bytes | None,
    reason: str,
) -> None:
    """What can never be handled is not retried; its dead letter names the reason, and its neighbour is applied."""
    handler = Failing()
    await producer.send_and_wait(topic.name, value, key=b"a", headers=headers)
    await send(producer, topic, event("a", 1))
    async with running(group.member(handler.handle).run, stopping):
        await all_done(database, 1)
    [dead] = await topic.dead.records()
    assert header(dead, "dead_reason").startswith(reason)
    assert dead.value == value
    assert handler.calls == {"a": 1}


@pytest.mark.parametrize(
    "changed",
    [
        {"ce_time": None},
        {"content-type": b"Application/Protobuf; charset=utf-8"},
        {"traceparent": "00-é".encode("latin-1"), "tracestate": b"\xff"},
        {"traceparent": b"00-%032d-%016d-01" % (0, 0)},
    ],
)
async def test_what_an_event_need_not_have_costs_it_nothing(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    changed: dict[str, bytes | None],
) -> None:
    """Another producer may leave it out, write it otherwise, or break it: the event is applied."""
    sent = event("a", 1)
    headers: list[Any] = list((dict(messages.headers(sent)) | changed).items())
    await producer.send_and_wait(topic.name, sent.payload, key=b"a", headers=headers)
    async with running(group.member().run, stopping):
        await all_done(database, 1)
    assert await topic.dead.records() == []


async def test_an_event_that_is_known_and_ignored_passes(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
) -> None:
    """A type that the group lists as ignored costs no transaction and is no dead letter."""
    await send(producer, topic, event("a", 1, BoolValue()), event("a", 2))
    async with running(group.member().run, stopping):
        await all_done(database, 1)
    assert await effects(database) == [("a", 2)]
    assert await own_database.value("SELECT count(*) FROM inbox") == 1
    assert await topic.dead.records() == []
    assert await group.committed() == 2


async def test_an_outage_of_the_database_pauses_and_kills_nothing(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
) -> None:
    """However long the database does not answer, messages wait: none is a dead letter, all are applied afterwards."""
    async with running(group.member(attempts_max=1).run, stopping):
        await send(producer, topic, event("a", 1))
        await all_done(database, 1)
        await own_database.down()
        try:
            with capture_logs() as logs:
                await send(producer, topic, event("a", 2), event("b", 1))
                await eventually(
                    lambda: [log["event"] for log in logs].count("the database does not answer; trying again") >= 4
                )
            assert await topic.dead.records() == []
        finally:
            await own_database.up()
        await all_done(database, 3)
    assert sorted(await effects(database)) == [("a", 1), ("a", 2), ("b", 1)]
    assert await topic.dead.records() == []


async def test_a_connection_that_is_lost_in_a_handler_is_not_the_handler_s_failure(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
) -> None:
    """The server ends the session in the middle of the work: the whole is done again, and done once."""
    losses = 0

    async def handler(transaction: Transaction, event: Message, envelope: Envelope) -> None:
        nonlocal losses
        await note_effect(transaction, event, envelope)
        if losses < 2:
            losses += 1
            await own_database.end_sessions()
            await note_effect(transaction, event, envelope)

    await send(producer, topic, event("a", 1))
    async with running(group.member(handler, attempts_max=1).run, stopping):
        # Seen from outside: our own connections are being ended.
        await eventually(lambda: own_database.value("SELECT count(*) FROM effects"))
    assert await effects(database) == [("a", 1)]
    assert await topic.dead.records() == []


async def test_a_consumer_can_be_stopped_while_the_database_is_down(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
) -> None:
    """It does not wait for a database that may never come; what it had in hand is not committed and comes again."""
    await own_database.down()
    try:
        with capture_logs() as logs:
            async with running(group.member().run, stopping):
                await send(producer, topic, event("a", 1))
                await eventually(lambda: any("does not answer" in log["event"] for log in logs))
        assert await group.committed() == 0
    finally:
        await own_database.up()


LIMIT = Sql("SELECT set_config", "SELECT set_config(:name, '20ms', true)")


async def test_a_locked_row_holds_up_no_other_order_of_its_batch(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """While somebody holds it the others go on; its own message waits, however long, and is no dead letter."""

    async def handler(transaction: Transaction, event: Message, envelope: Envelope) -> None:
        await transaction.all(LIMIT, name="lock_timeout")
        await transaction.all(LOCK_EFFECT, subject=envelope.subject)
        await note_effect(transaction, event, envelope)

    async with database.transaction() as first:
        await note_effect(first, Int64Value(), event("b", 0))
    await send_together(producer, topic, *(event(subject) for subject in "abc"))
    async with running(group.member(handler, attempts_max=1).run, stopping):
        async with database.transaction() as other:
            await other.all(LOCK_EFFECT, subject="b")
            with capture_logs() as logs:
                await all_done(database, 3)
                assert await effects(database) == [("b", 0), ("a", 1), ("c", 1)]
                await eventually(lambda: [log["event"] for log in logs].count(OVERDUE) >= 3)
            assert await effects(database) == [("b", 0), ("a", 1), ("c", 1)]
        await all_done(database, 4)
    assert await effects(database) == [("b", 0), ("a", 1), ("c", 1), ("b", 1)]
    assert await topic.dead.records() == []
    assert await group.committed() == 3


@pytest.mark.usefixtures("no_pauses")
async def test_a_statement_that_always_takes_too_long_is_a_failure_of_its_handler(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """The database answers, and would take as long for ever: so it is tried so often, and then the message is dead."""
    sleep = Sql("SELECT pg_sleep", "SELECT pg_sleep(:seconds)")

    async def handler(transaction: Transaction, event: Message, envelope: Envelope) -> None:
        await transaction.all(LIMIT, name="statement_timeout")
        await transaction.all(sleep, seconds=10.0 if envelope.subject == "slow" else 0.0)
        await note_effect(transaction, event, envelope)

    await send_together(producer, topic, *(event(subject) for subject in ("a", "slow", "z")))
    async with running(group.member(handler, attempts_max=2).run, stopping):
        await eventually(topic.dead.records)
        await all_done(database, 2)
    [dead] = await topic.dead.records()
    assert header(dead, "dead_reason").startswith("QueryCanceledError")
    assert await effects(database) == [("a", 1), ("z", 1)]


async def test_a_consumer_can_be_stopped_while_a_row_is_locked(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """It does not wait for whoever holds the lock; the message comes again."""

    async def handler(transaction: Transaction, event: Message, envelope: Envelope) -> None:
        await transaction.all(LIMIT, name="lock_timeout")
        await transaction.all(LOCK_EFFECT, subject=envelope.subject)

    async with database.transaction() as first:
        await note_effect(first, Int64Value(), event("a", 0))
    await send(producer, topic, event("a", 1))
    async with database.transaction() as other:
        await other.all(LOCK_EFFECT, subject="a")
        with capture_logs() as logs:
            async with running(group.member(handler).run, stopping):
                await eventually(lambda: any(log["event"] == OVERDUE for log in logs))
    assert await group.committed() == 0


async def test_a_failing_message_is_not_given_up_because_the_process_stops(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """Stopped between two tries, the consumer leaves the message to whoever comes next."""
    handler = Failing(a=100)
    await send(producer, topic, event("a", 1))
    async with running(group.member(handler.handle, attempts_max=1000).run, stopping):
        await eventually(lambda: handler.calls["a"] >= 3)
    assert handler.calls["a"] < 100
    assert await topic.dead.records() == []
    assert await group.committed() == 0


async def test_a_dead_letter_waits_for_the_broker(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A message is given up only once its dead letter is safe: with the broker down it is neither lost nor passed."""
    monkeypatch.setattr(retries, "RETRY_SECONDS_MAX", 0.0)
    asked, may_fail = asyncio.Event(), asyncio.Event()

    async def handler(transaction: Transaction, event: Message, envelope: Envelope) -> None:
        asked.set()
        await may_fail.wait()
        raise LookupError

    await send(producer, topic, event("a", 1))
    async with running(group.member(handler, attempts_max=1).run, stopping):
        await asked.wait()
        broker.down()
        try:
            with capture_logs() as logs:
                may_fail.set()
                await eventually(lambda: any(log["event"].startswith("a dead letter waits") for log in logs))
        finally:
            broker.up()
        await eventually(topic.dead.records)


async def test_shutdown_finishes_what_is_in_hand(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """Asked to stop in the middle of a handler: it is done, its offset is committed, and nothing new is begun."""
    held = Held()
    await send(producer, topic, event("a", 1), event("a", 2))
    async with running(group.member(held.handle, batch_max=1).run, stopping) as task:
        await held.works.wait()
        stopping.set()
        await asyncio.sleep(0)
        assert not task.done()
        held.may_end.set()
    assert await effects(database) == [("a", 1)]
    assert await group.committed() == 1


async def test_a_consumer_can_be_stopped_while_the_broker_is_down(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An offset that cannot be committed keeps nobody: the message comes again, and the inbox knows it."""
    monkeypatch.setattr(consumer, "COMMIT_INTERVAL_SECONDS", 0.0)
    held = Held()
    await send(producer, topic, event("a", 1))
    try:
        async with running(group.member(held.handle).run, stopping) as task:
            await held.works.wait()
            broker.down()
            held.may_end.set()
            await all_done(database, 1)
            stopping.set()
            async with asyncio.timeout(settings_of_nowhere().shutdown_grace_seconds):
                await task
    finally:
        broker.up()
    assert await group.committed() == 0


def test_leaving_takes_less_than_the_grace() -> None:
    """With the broker away: the commit that was begun, what waits, dead letters, the last commit, and the closing."""
    giving_up = max(consumer.BURY_SECONDS_MAX, waiting_keys.GIVE_UP_SECONDS_MAX + waiting_keys.CANCEL_SECONDS_MAX)
    seconds = 2 * consumer.COMMIT_SECONDS_MAX + giving_up + 3 * consumer.LEAVE_SECONDS_MAX
    assert seconds < settings_of_nowhere().shutdown_grace_seconds


async def test_partitions_move_only_after_the_batch_in_hand(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """A rebalance waits for the handler that works, and its offset is committed before another member takes over.

    Nothing new is begun, although it was fetched.
    """
    held = Held()
    member = group.member(held.handle, batch_max=1)
    await send_together(producer, topic, event("a", 1), event("a", 2))
    async with running(member.run, stopping):
        await held.works.wait()
        moving = asyncio.create_task(member.settle())
        await asyncio.sleep(0)
        assert not moving.done()
        held.may_end.set()
        await moving
        assert await effects(database) == [("a", 1)]
        assert await group.committed() == 1


async def test_a_rebalance_waits_longer_than_a_member_may_take_to_settle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The broker throws nobody out who still finishes its batch; and the safe settings are chosen, not the defaults."""
    monkeypatch.setattr(kafka, "AIOKafkaConsumer", dict)
    chosen: Any = kafka.consumer(settings_of_nowhere(), "order.saga")
    assert chosen["rebalance_timeout_ms"] > consumer.REVOKE_SECONDS_MAX * 1000
    assert chosen["enable_auto_commit"] is False
    assert chosen["auto_offset_reset"] == "earliest"


async def test_a_consumer_starts_while_the_broker_is_down(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group, broker: Broker
) -> None:
    """It joins its group when the broker is there."""
    await send(producer, topic, event("a", 1))
    broker.down()
    try:
        with capture_logs() as logs:
            member = group.member()
            task = asyncio.create_task(member.run())
            await eventually(lambda: any(log["event"].startswith("the broker does not answer") for log in logs))
    finally:
        broker.up()

    async def joined() -> None:
        await task

    async with running(joined, stopping):
        await all_done(database, 1)


async def test_a_consumer_can_be_stopped_before_the_broker_answered(
    database: Database, stopping: asyncio.Event, group: Group, broker: Broker
) -> None:
    """It waits for no broker, and leaves no client behind."""
    broker.down()
    try:
        with capture_logs() as logs:
            async with running(group.member().run, stopping):
                await eventually(lambda: any(log["event"].startswith("the broker does not answer") for log in logs))
    finally:
        broker.up()


async def test_a_process_span_is_a_child_of_the_creation_and_links_to_it(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group, spans: Spans
) -> None:
    """One order, one trace: `process` is a CONSUMER below `create`, and its statements are below it."""
    with telemetry.span("create"):
        sent = event("a", 3)
    await send(producer, topic, sent)
    async with running(group.member().run, stopping):
        await all_done(database, 1)
    create, process = spans.one("create"), spans.one(f"process {topic} Int64Value")
    # Alone it needs no batch.
    assert spans.named(f"poll {topic}") == []
    assert process.kind is SpanKind.CONSUMER
    assert is_child(process, create)
    assert linked(process) == {context(create).span_id}
    for statement in ("INSERT inbox", "INSERT effects"):
        assert is_child(spans.one(statement), process)
        assert attributes(spans.one(statement))["shop.order.id"] == "a"
    found = attributes(process)
    assert found["messaging.consumer.group.name"] == group.name
    assert found["messaging.message.id"] == str(sent.id)
    assert found["messaging.operation.name"] == "process"
    assert found["messaging.kafka.offset"] == 0
    assert found["shop.order.id"] == "a"
    assert found["shop.event.sequence"] == 3
    assert found["code.function.name"] == "chassis.tests.surroundings.note_effect"
    [record] = await topic.records()
    assert process.start_time is not None
    assert found["shop.kafka.age_ms"] == pytest.approx(process.start_time / 1e6 - record.timestamp, abs=0.01)


async def test_in_link_mode_a_process_span_begins_a_trace_that_links_back(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group, spans: Spans
) -> None:
    """`TRACE_ASYNC=link`: a root of its own, that only links to the creation."""
    with telemetry.span("create"):
        sent = event("a", 1)
    await send(producer, topic, sent)
    async with running(group.member(trace_async="link").run, stopping):
        await all_done(database, 1)
    create, process = spans.one("create"), spans.one(f"process {topic} Int64Value")
    assert process.parent is None
    assert context(process).trace_id != context(create).trace_id
    assert context(create).span_id in linked(process)


async def test_a_message_without_a_trace_begins_one(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group, spans: Spans
) -> None:
    """Nothing is needed of a sender that knows no traces."""
    await send(producer, topic, event("a", 1))
    async with running(group.member().run, stopping):
        await all_done(database, 1)
    assert spans.one(f"process {topic} Int64Value").parent is None


async def test_a_batch_has_a_small_trace_of_its_own(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group, spans: Spans
) -> None:
    """A statement that serves several orders belongs to the batch's own trace, which links to the orders it carried."""
    events: list[Envelope] = []
    for subject in "ab":
        with telemetry.span(f"create {subject}"):
            events.append(event(subject))
    await send_together(producer, topic, *events)
    async with running(group.member().run, stopping):
        await all_done(database, 2)
    poll, note = spans.one(f"poll {topic}"), spans.one("INSERT inbox")
    assert poll.parent is None
    assert linked(poll) == {context(spans.one(f"create {subject}")).span_id for subject in "ab"}
    assert attributes(poll)["messaging.batch.message_count"] == 2
    assert is_child(note, poll)
    assert "shop.order.id" not in attributes(note)
    for process in spans.named(f"process {topic} Int64Value"):
        create = spans.one(f"create {attributes(process)['shop.order.id']}")
        assert is_child(process, create)
        assert linked(process) == {context(create).span_id, context(note).span_id}
        assert attributes(process)["shop.batch.messages"] == 2
        assert attributes(process)["shop.batch.statements"] == ("INSERT inbox",)


async def test_a_message_names_only_what_it_shared(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group, spans: Spans
) -> None:
    """Two of three messages promise a row: the statement that writes both is theirs, the inbox rows are everybody's."""

    async def write(transaction: Transaction, rows: list[dict[str, Any]]) -> None:
        await transaction.many(INSERT_EFFECT, rows)

    async def promise(transaction: Transaction, event: Message, envelope: Envelope) -> None:
        if envelope.subject != "c":
            transaction.collect(write, {"subject": envelope.subject, "sequence": 1, "message_id": envelope.id})

    await send_together(producer, topic, *(event(subject) for subject in "abc"))
    async with running(group.member(promise).run, stopping):
        await all_done(database, 2)
    named = {
        attributes(process)["shop.order.id"]: attributes(process)["shop.batch.statements"]
        for process in spans.named(f"process {topic} Int64Value")
    }
    both = ("INSERT inbox", "INSERT effects")
    assert named == {"a": both, "b": both, "c": ("INSERT inbox",)}
    [process] = [
        each for each in spans.named(f"process {topic} Int64Value") if attributes(each)["shop.order.id"] == "a"
    ]
    assert linked(process) == {context(spans.one(name)).span_id for name in both}


async def test_a_process_span_ends_after_the_commit(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group, spans: Spans
) -> None:
    """The span covers the transaction, its COMMIT included."""
    committed_at: list[int] = []

    async def handler(transaction: Transaction, event: Message, envelope: Envelope) -> None:
        await note_effect(transaction, event, envelope)
        transaction.notify("effects")

    database.on_commit("effects", lambda _key: committed_at.append(time.time_ns()))
    await send(producer, topic, event("a", 1))
    async with running(group.member(handler).run, stopping):
        await all_done(database, 1)
    ended_at = spans.one(f"process {topic} Int64Value").end_time
    assert ended_at is not None
    assert ended_at >= committed_at[0]


@pytest.mark.usefixtures("no_pauses")
async def test_the_spans_of_a_rolled_back_attempt_are_not_exported(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group, spans: Spans
) -> None:
    """A handler that failed twice and then did it shows once in the trace; a dead one shows as one failed span."""
    with telemetry.span("create"):
        await send(producer, topic, event("a"), event("b"))
    async with running(group.member(Failing(a=2, b=100).handle, attempts_max=3).run, stopping):
        await eventually(topic.dead.records)
    done, dead = sorted(
        spans.named(f"process {topic} Int64Value"), key=lambda span: str(attributes(span)["shop.order.id"])
    )
    assert done.status.status_code is StatusCode.UNSET
    assert dead.status.status_code is StatusCode.ERROR
    assert attributes(dead)["error.type"] == "LookupError"
    assert is_child(dead, spans.one("create"))
    # The batch that failed is not told, and each of the two went alone.
    assert len(spans.named("INSERT effects")) == len(spans.named("INSERT inbox")) == 1
    assert spans.named(f"poll {topic}") == []


async def test_an_older_version_is_handled_and_not_dropped(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """A redriven message comes after its successors; the handler sees its version and judges by state."""
    await send(producer, topic, event("a", 2), event("a", 1))
    async with running(group.member().run, stopping):
        await all_done(database, 2)
    assert await effects(database) == [("a", 2), ("a", 1)]
