"""The relay: every promised event reaches Kafka, in order per aggregate, whatever dies on the way."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.wrappers_pb2 import BytesValue
from opentelemetry.trace import SpanKind

from chassis import kafka, outbox, relay
from chassis.database import Database, Sql, Transaction
from chassis.kafka import Producer
from chassis.relay import Relay
from chassis.settings import ServiceSettings
from chassis.testing import Spans, attributes, context, eventually, is_child, linked, traceparent
from chassis.tests.surroundings import (
    Broker,
    OwnDatabase,
    Topic,
    header,
    killed,
    publish,
    running,
    settings_of_nowhere,
    values,
)

WAITING = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
LEASE_IS_HELD = "SELECT until > clock_timestamp() FROM relay_lease"


class Gate:
    """A producer that holds its messages back until told to let them pass."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def send(self, *arguments: Any, **named: Any) -> Any:
        self.reached.set()
        await self.opened.wait()
        return await self._producer.send(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


@pytest.fixture
async def other_database(database: Database, own_database: OwnDatabase) -> AsyncIterator[Database]:
    """The same database as another replica sees it: no wake-ups from this process' commits."""
    other = Database(own_database.url)
    yield other
    await other.close()


def relay_of(database: Database, producer: Any, stopping: asyncio.Event, poll_interval_seconds: float = 60.0) -> Relay:
    return Relay(database, producer, source="test", stopping=stopping, poll_interval_seconds=poll_interval_seconds)


def first_deliveries(numbers: list[int]) -> list[int]:
    """Without the repeats of what was sent before."""
    return list(dict.fromkeys(numbers))


async def test_a_round_sends_the_lowest_unpublished_version_of_each_aggregate(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event
) -> None:
    """A version is sent only once the one before it is acknowledged, so no failure can reverse them."""
    await publish(database, topic, "a", [3, 1, 2])
    await publish(database, topic, "b", [1, 2])
    rounds = relay_of(database, producer, stopping)
    for expected_a, expected_b, more in (([1], [1], True), ([1, 2], [1, 2], True), ([1, 2, 3], [1, 2], False)):
        assert await rounds.round() is more
        records = await topic.records()
        assert (values(records, "a"), values(records, "b")) == (expected_a, expected_b)


async def test_the_order_of_an_aggregate_outlives_a_restart(
    database: Database, topic: Topic, settings: ServiceSettings
) -> None:
    """A relay that stopped between two versions is followed by one that goes on with the next."""
    await publish(database, topic, "a", range(1, 7))
    for _ in range(3):
        async with kafka.producer(settings, "restarted") as producer:
            rounds = relay_of(database, producer, asyncio.Event())
            await rounds.round()
            await rounds.round()
    assert values(await topic.records(), "a") == [1, 2, 3, 4, 5, 6]


async def test_a_commit_wakes_the_relay_at_once(
    database: Database, topic: Topic, settings: ServiceSettings, stopping: asyncio.Event
) -> None:
    """An event does not wait for the poll: with a poll once a minute it is on Kafka at once."""
    async with running(relay_of(database, kafka.producer(settings, "relay"), stopping).run, stopping):
        await publish(database, topic, "a", [1, 2, 3])
        await eventually(topic.records, seconds_max=3)
        await publish(database, topic, "a", [4])

        async def all_there() -> bool:
            return values(await topic.records()) == [1, 2, 3, 4]

        await eventually(all_there, seconds_max=3)


async def test_the_poll_finds_what_another_process_has_committed(
    database: Database, other_database: Database, topic: Topic, settings: ServiceSettings, stopping: asyncio.Event
) -> None:
    """Rows that nobody in this process wrote, such as those of a replica that died, are sent by the slow poll."""
    async with running(relay_of(database, kafka.producer(settings, "relay"), stopping, 0.05).run, stopping):
        await publish(other_database, topic, "a")
        await eventually(topic.records, seconds_max=3)


async def test_two_relays_keep_the_order_of_each_aggregate_and_send_nothing_twice(
    database: Database, other_database: Database, topic: Topic, settings: ServiceSettings, stopping: asyncio.Event
) -> None:
    """Side by side, woken by their own commits and by their polls, they send each event once, in its order."""
    databases = (database, other_database)
    first, second = (
        relay_of(own, kafka.producer(settings, f"relay-{number}"), stopping, 0.02)
        for number, own in enumerate(databases)
    )
    subjects = [f"order-{number}" for number in range(8)]
    async with running(first.run, stopping), running(second.run, stopping):
        for sequence in range(1, 13):
            await asyncio.gather(
                *(publish(databases[number % 2], topic, subject, [sequence]) for number, subject in enumerate(subjects))
            )

        async def all_there() -> bool:
            async with database.single() as once:
                row = await once.first(Sql("SELECT outbox", WAITING))
            return row is not None and row[0] == 0

        await eventually(all_there)
    records = await topic.records()
    for subject in subjects:
        assert values(records, subject) == list(range(1, 13))


async def test_one_relay_sends_at_a_time(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event
) -> None:
    """While one relay has a round in hand another one is told to wait, and sends nothing."""
    gate = Gate(producer)
    await publish(database, topic, "a", [1, 2])
    round_in_hand = asyncio.create_task(relay_of(database, gate, stopping).round())
    await gate.reached.wait()
    idle = relay_of(database, producer, stopping)
    assert await idle.round() is None
    assert await topic.records() == []
    gate.opened.set()
    assert await round_in_hand is True
    assert await idle.round() is False
    assert values(await topic.records()) == [1, 2]


async def test_nobody_waits_when_nothing_does(
    database: Database, producer: Producer, own_database: OwnDatabase, stopping: asyncio.Event
) -> None:
    """With an empty outbox a round takes no lease, so replicas do not wake each other."""
    assert await relay_of(database, producer, stopping).round() is False
    assert await own_database.value("SELECT fence FROM relay_lease") == 0


async def test_a_crash_between_send_and_mark_is_made_good_under_the_same_id(
    database: Database, own_database: OwnDatabase, topic: Topic, settings: ServiceSettings, stopping: asyncio.Event
) -> None:
    """Killed after Kafka had the event: another relay takes over when the lease runs out, and repeats it exactly."""
    [first_id, second_id] = await publish(database, topic, "a", [1, 2])
    await killed(settings, "relay", "1.5")
    assert [header(record, "ce_id") for record in await topic.records()] == [str(first_id)]
    assert await own_database.value(LEASE_IS_HELD) is True
    async with running(relay_of(database, kafka.producer(settings, "heir"), stopping).run, stopping):

        async def all_sent() -> bool:
            return await own_database.value(WAITING) == 0

        await eventually(all_sent)
    sent, again, second = await topic.records()
    assert again.headers == sent.headers
    assert again.value == sent.value
    assert header(second, "ce_id") == str(second_id)


async def test_a_holder_whose_lease_ran_out_does_not_free_its_heir_s(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fencing: a relay that was away for longer than its lease still marks what Kafka has, and nothing else."""
    slow, heir = Gate(producer), Gate(producer)
    await publish(database, topic, "a", [1, 2])
    monkeypatch.setattr(relay, "LEASE_SECONDS", 0.05)
    slow_round = asyncio.create_task(relay_of(database, slow, stopping).round())
    await slow.reached.wait()
    monkeypatch.setattr(relay, "LEASE_SECONDS", 8.0)
    heir_relay = relay_of(database, heir, stopping)
    heir_round = asyncio.create_task(heir_relay.round())

    async def heir_sends() -> bool:
        nonlocal heir_round
        if heir_round.done() and heir_round.result() is None:
            heir_round = asyncio.create_task(heir_relay.round())
        return heir.reached.is_set()

    await eventually(heir_sends)
    slow.opened.set()
    await slow_round
    assert await own_database.value(WAITING) == 1
    assert await own_database.value(LEASE_IS_HELD) is True
    heir.opened.set()
    await heir_round
    assert await own_database.value(LEASE_IS_HELD) is False


async def test_a_lease_outlives_the_longest_round() -> None:
    """A live relay never sends without a lease; and what it leaves behind when it is killed waits less than 5 s."""
    assert relay.SEND_SECONDS_MAX + 1 <= relay.LEASE_SECONDS < 4


async def test_a_round_whose_time_is_over_sends_nothing(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lease came late from a slow database: another relay may have it soon, so this one takes nothing up."""
    rounds = relay_of(database, producer, stopping)
    await publish(database, topic, "a", [1])
    assert await rounds.round() is False
    monkeypatch.setattr(relay, "SEND_SECONDS_MAX", 0.0)
    await publish(database, topic, "a", [2])
    with pytest.raises(kafka.KafkaError):
        await rounds.round()
    await producer.client.flush()
    assert values(await topic.records()) == [1]
    assert await own_database.value(WAITING) == 1


async def test_a_killed_relay_is_followed_by_another_within_five_seconds(
    database: Database, own_database: OwnDatabase, topic: Topic, settings: ServiceSettings, stopping: asyncio.Event
) -> None:
    """Killed right after it has taken the lease, which lasts as long as in earnest; its heir looks once a second."""
    await publish(database, topic, "a", [1, 2])
    await killed(settings, "relay", str(relay.LEASE_SECONDS))
    killed_at = time.monotonic()
    assert await own_database.value(LEASE_IS_HELD) is True
    async with running(relay_of(database, kafka.producer(settings, "heir"), stopping, 1.0).run, stopping):

        async def all_sent() -> bool:
            return await own_database.value(WAITING) == 0

        await eventually(all_sent)
    assert time.monotonic() - killed_at < 5
    assert first_deliveries(values(await topic.records(), "a")) == [1, 2]


async def test_a_relay_that_took_the_lease_late_does_not_repeat_what_was_sent_meanwhile(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Held up between its look at the outbox and its grasp at the lease, a relay sees that it looked too early."""
    await publish(database, topic, "a", [1])
    taken = relay._TAKE.attributes["db.query.text"]  # pyright: ignore[reportPrivateUsage] - itself, only slower
    slow = taken.replace("FROM relay_lease WHERE", "FROM pg_sleep(0.3), relay_lease WHERE").replace(
        "FOR UPDATE SKIP", "FOR UPDATE OF relay_lease SKIP"
    )
    assert slow.count("pg_sleep") == slow.count("OF relay_lease") == 1
    quick_relay, slow_relay = relay_of(database, producer, stopping), relay_of(database, producer, stopping)
    with monkeypatch.context() as patched:
        patched.setattr(relay, "_TAKE", Sql("SELECT outbox", slow))
        slow_round = asyncio.create_task(slow_relay.round())
        await eventually(lambda: sleeping(database))
    assert await quick_relay.round() is False
    await slow_round
    assert values(await topic.records()) == [1]


async def sleeping(database: Database) -> bool:
    """Whether a session of ours waits in pg_sleep."""
    async with database.single() as once:
        row = await once.first(
            Sql("SELECT pg_stat_activity", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        )
    return row is not None and row[0] > 0


async def released(own_database: OwnDatabase) -> bool:
    return not await own_database.value(LEASE_IS_HELD)


async def test_no_transaction_is_open_while_the_broker_does_not_answer(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    settings: ServiceSettings,
    stopping: asyncio.Event,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An outage of the broker holds up no vacuum and no lock: rows wait; once it is over all are sent, in order."""
    monkeypatch.setattr(relay, "SEND_SECONDS_MAX", 0.3)
    async with running(relay_of(database, kafka.producer(settings, "relay"), stopping, 0.05).run, stopping):
        await publish(database, topic, "a", [1])
        await eventually(topic.records)
        broker.down()
        try:
            await publish(database, topic, "a", [2, 3])
            await publish(database, topic, "b", [1])
            # While the first round sends in vain, and after it, when there is no broker to begin another with.
            await eventually(lambda: own_database.value(LEASE_IS_HELD))
            for _ in range(20):
                assert await own_database.idle_transactions() == 0
            await eventually(lambda: released(own_database))
            for _ in range(20):
                assert await own_database.idle_transactions() == 0
            assert await own_database.value(WAITING) == 3
        finally:
            broker.up()

        async def all_sent() -> bool:
            return await own_database.value(WAITING) == 0

        await eventually(all_sent)
    records = await topic.records()
    # A send whose answer was lost may have arrived: it is repeated, never skipped and never overtaken.
    assert first_deliveries(values(records, "a")) == [1, 2, 3]
    assert first_deliveries(values(records, "b")) == [1]
    ids = [UUID(header(record, "ce_id")) for record in records]
    assert {str(found) for found in ids} == {str(row["id"]) for row in await own_database.ask("SELECT id FROM outbox")}


async def test_a_relay_starts_while_the_broker_is_down(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    settings: ServiceSettings,
    stopping: asyncio.Event,
    broker: Broker,
) -> None:
    """A service does not need the broker to begin: what was promised meanwhile is sent when it is there."""
    broker.down()
    async with running(relay_of(database, kafka.producer(settings, "relay"), stopping).run, stopping):
        try:
            await publish(database, topic, "a")
        finally:
            broker.up()
        await eventually(topic.records)


async def test_an_outage_is_time_in_the_outbox(
    database: Database,
    topic: Topic,
    settings: ServiceSettings,
    stopping: asyncio.Event,
    broker: Broker,
    spans: Spans,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a round gave up is not sent beside its repeat: one record comes of it, stamped when it could be sent."""
    monkeypatch.setattr(relay, "SEND_SECONDS_MAX", 0.5)
    send = f"send {topic} Int64Value"
    async with running(relay_of(database, kafka.producer(settings, "relay"), stopping, 0.05).run, stopping):
        await publish(database, topic, "a", [1])
        await eventually(lambda: spans.named(send))
        broker.down()
        try:
            await publish(database, topic, "a", [2])
            await eventually(lambda: len(spans.named(send)) > 1)
        finally:
            back_ms = time.time() * 1000
            broker.up()
        await eventually(lambda: spans.named(send)[-1].status.is_unset, seconds_max=30)
    records = await topic.records()
    assert values(records) == [1, 2]
    assert records[-1].timestamp >= int(back_ms)
    [tried, *_, sent] = spans.named(send)[1:]
    assert "shop.outbox.age_ms" not in attributes(tried)
    create = spans.named(f"create {topic} Int64Value")[-1]
    assert create.start_time is not None
    waited_ms = float(str(attributes(sent)["shop.outbox.age_ms"]))
    assert waited_ms == pytest.approx(records[-1].timestamp - create.start_time / 1e6, abs=0.01)


async def test_a_relay_can_be_stopped_while_the_broker_is_down(
    database: Database, settings: ServiceSettings, stopping: asyncio.Event, broker: Broker
) -> None:
    """It does not wait for a broker that may never come, and leaves no client behind."""
    broker.down()
    try:
        async with running(relay_of(database, kafka.producer(settings, "relay"), stopping).run, stopping):
            await asyncio.sleep(0)
    finally:
        broker.up()


async def test_an_outage_of_the_database_ends_no_relay(
    database: Database, own_database: OwnDatabase, topic: Topic, settings: ServiceSettings, stopping: asyncio.Event
) -> None:
    """The relay goes on when the database is back."""
    async with running(relay_of(database, kafka.producer(settings, "relay"), stopping, 0.02).run, stopping) as task:
        await own_database.down()
        # Long enough for polls that fail.
        await asyncio.sleep(0.1)
        assert not task.done()
        await own_database.up()
        await publish(database, topic, "a")
        await eventually(topic.records)


async def test_an_event_that_kafka_refuses_does_not_hold_up_others(
    database: Database, own_database: OwnDatabase, topic: Topic, settings: ServiceSettings, stopping: asyncio.Event
) -> None:
    """One row that can never be sent stays, visible in the backlog; the events of other aggregates go out."""

    async def too_large(transaction: Transaction) -> None:
        outbox.publish(transaction, topic.name, BytesValue(value=b"x" * 1_100_000), subject="a", sequence=1)

    async with running(relay_of(database, kafka.producer(settings, "relay"), stopping, 0.02).run, stopping):
        await database.unit_of_work(too_large)
        await publish(database, topic, "b", [1, 2])

        async def others_sent() -> bool:
            return values(await topic.records(), "b") == [1, 2]

        await eventually(others_sent)
    assert [row["subject"] for row in await own_database.ask("SELECT * FROM outbox WHERE published_at IS NULL")] == [
        "a"
    ]


async def test_a_message_is_a_cloud_event_in_binary_mode(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    spans: Spans,
) -> None:
    """Exactly the attributes of CloudEvents 1.0 as headers, the stored trace context once, the payload as value."""
    [event_id] = await publish(database, topic, "a", [1])
    [row] = await own_database.ask("SELECT * FROM outbox")
    assert row["traceparent"] == traceparent(spans.one(f"create {topic} Int64Value"))
    await relay_of(database, producer, stopping).round()
    [record] = await topic.records()
    assert [(name, value.decode()) for name, value in record.headers] == [
        ("ce_specversion", "1.0"),
        ("ce_id", str(event_id)),
        ("ce_type", "google.protobuf.Int64Value"),
        ("ce_source", "test"),
        ("ce_subject", "a"),
        ("ce_time", row["created_at"].isoformat()),
        ("ce_sequence", "1"),
        ("content-type", "application/protobuf"),
        ("traceparent", row["traceparent"]),
    ]
    assert datetime.fromisoformat(header(record, "ce_time")).utcoffset() == timedelta(0)
    assert record.key == b"a"
    assert record.value == row["payload"]


async def test_the_stored_trace_state_travels_too(
    database: Database, own_database: OwnDatabase, topic: Topic, producer: Producer, stopping: asyncio.Event
) -> None:
    """The relay sends the context it finds in the row, all of it, and changes nothing."""
    await publish(database, topic, "a", [1])
    stored = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await own_database.ask("UPDATE outbox SET traceparent = $1, tracestate = 'vendor=value'", stored)
    await relay_of(database, producer, stopping).round()
    [record] = await topic.records()
    assert header(record, "traceparent") == stored
    assert header(record, "tracestate") == "vendor=value"


async def test_a_send_span_is_a_client_below_the_create_span(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, spans: Spans
) -> None:
    """`send` is in the order's trace, links to its creation and to the relay's own round, and tells the wait."""
    [event_id] = await publish(database, topic, "a", [1])
    await relay_of(database, producer, stopping).round()
    create, send, own = (
        spans.one(f"create {topic} Int64Value"),
        spans.one(f"send {topic} Int64Value"),
        spans.one("relay outbox"),
    )
    [record] = await topic.records()
    assert send.kind is SpanKind.CLIENT
    assert is_child(send, create)
    assert linked(send) == {context(create).span_id, context(own).span_id}
    found = attributes(send)
    assert found["messaging.operation.name"] == "send"
    assert found["messaging.message.id"] == str(event_id)
    assert found["messaging.kafka.offset"] == record.offset
    assert found["messaging.destination.partition.id"] == str(record.partition)
    assert found["shop.order.id"] == "a"
    # From the create span to the record's timestamp, which has no fractions of a millisecond.
    assert create.start_time is not None
    assert found["shop.outbox.age_ms"] == pytest.approx(max(0.0, record.timestamp - create.start_time / 1e6), abs=0.01)


async def test_a_round_has_a_small_trace_of_its_own_that_links(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, spans: Spans
) -> None:
    """The relay's span belongs to no order: a root that links to each event it carried; an idle round has none."""
    await publish(database, topic, "a", [1])
    await publish(database, topic, "b", [1])
    rounds = relay_of(database, producer, stopping)
    await rounds.round()
    await rounds.round()
    own = spans.one("relay outbox")
    assert own.parent is None
    assert linked(own) == {context(create).span_id for create in spans.named(f"create {topic} Int64Value")}
    assert attributes(own)["messaging.batch.message_count"] == 2


async def test_a_send_without_an_answer_is_a_failed_span(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    spans: Spans,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The attempt shows in the trace as an error, and the row stays."""
    monkeypatch.setattr(relay, "SEND_SECONDS_MAX", 0.05)
    await publish(database, topic, "a", [1])
    with pytest.raises(kafka.KafkaError):
        await relay_of(database, Gate(producer), stopping).round()
    assert attributes(spans.one(f"send {topic} Int64Value"))["error.type"] == "TimeoutError"
    assert not spans.one(f"send {topic} Int64Value").status.is_ok


async def test_the_producer_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    """`acks=all` and idempotent: the library's defaults are neither."""
    monkeypatch.setattr(kafka, "AIOKafkaProducer", dict)
    chosen: Any = kafka.producer(settings_of_nowhere(), "relay").client
    assert chosen["acks"] == "all"
    assert chosen["enable_idempotence"] is True
    # An unanswered request is repeated, under its number, while the round still waits.
    assert chosen["request_timeout_ms"] < relay.SEND_SECONDS_MAX * 1000
