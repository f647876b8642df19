"""The outbox: an event is told if and only if the transaction that made it true has committed."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from google.protobuf.wrappers_pb2 import Int64Value

from chassis import messages, outbox, telemetry
from chassis.database import Database, Transaction
from chassis.kafka import Producer
from chassis.relay import Relay
from chassis.testing import Spans, attributes, is_child, traceparent
from chassis.tests.surroundings import OwnDatabase, Topic, header, publish, values

COUNT = "SELECT count(*) FROM outbox"


async def test_an_event_is_a_row_that_appears_with_the_commit(
    database: Database, own_database: OwnDatabase, topic: Topic
) -> None:
    """Nobody sees the row before the transaction that wrote it has committed."""
    seen: list[int] = []

    async def change(transaction: Transaction) -> None:
        outbox.publish(transaction, topic.name, Int64Value(value=7), subject="a", sequence=1)
        await transaction.flush()
        seen.append(await own_database.value(COUNT))

    await database.unit_of_work(change)
    [row] = await own_database.ask("SELECT * FROM outbox")
    assert seen == [0]
    assert (row["topic"], row["subject"], row["sequence"]) == (topic.name, "a", 1)
    assert (row["type"], row["payload"]) == ("google.protobuf.Int64Value", Int64Value(value=7).SerializeToString())
    assert row["published_at"] is None


async def test_a_rolled_back_transaction_tells_nothing(
    database: Database, own_database: OwnDatabase, topic: Topic, spans: Spans
) -> None:
    """Neither a row nor a `create` span is left of an event whose transaction failed."""

    async def change(transaction: Transaction) -> None:
        outbox.publish(transaction, topic.name, Int64Value(), subject="a", sequence=1)
        await transaction.flush()
        raise LookupError

    with pytest.raises(LookupError):
        await database.unit_of_work(change)
    assert await own_database.value(COUNT) == 0
    assert not spans.named(f"create {topic} Int64Value")


async def test_the_events_of_a_transaction_are_one_statement(database: Database, topic: Topic, spans: Spans) -> None:
    """However many events a unit of work publishes, they cost one round trip, in which each one's `create` ends."""
    asked: list[str] = []

    def note(record: asyncpg.connection.LoggedQuery) -> None:
        asked.append(record.query.split()[0])

    async def change(transaction: Transaction) -> None:
        connection: Any = transaction._connection.driver  # pyright: ignore[reportPrivateUsage]
        for sequence in range(1, 8):
            outbox.publish(transaction, topic.name, Int64Value(value=1), subject="a", sequence=sequence)
        with connection.query_logger(note):
            await transaction.flush()

    await database.unit_of_work(change)
    assert asked.count("INSERT") == 1
    assert len(spans.named(f"create {topic} Int64Value")) == 7
    assert spans.named("INSERT outbox") == []


async def test_the_row_stores_the_context_of_its_create_span(
    database: Database, own_database: OwnDatabase, topic: Topic, spans: Spans
) -> None:
    """`create` is a PRODUCER span below the unit of work, and its context, flags included, lies in the row."""
    with telemetry.about_order("a"):
        [event_id] = await publish(database, topic, "a")
    create, work = spans.one(f"create {topic} Int64Value"), spans.one("change")
    assert create.kind is telemetry.SpanKind.PRODUCER
    assert is_child(create, work)
    assert attributes(create)["messaging.message.id"] == str(event_id)
    assert attributes(create)["messaging.operation.name"] == "create"
    assert attributes(create)["shop.order.id"] == "a"
    assert await own_database.value("SELECT traceparent FROM outbox") == traceparent(create)


async def test_a_row_that_commits_late_is_published_still(
    database: Database, own_database: OwnDatabase, topic: Topic, producer: Producer, stopping: asyncio.Event
) -> None:
    """Sequence gap: an earlier id that becomes visible after a later one was published is not skipped."""
    relay = Relay(database, producer, source="test", stopping=stopping)
    holds, may_commit = asyncio.Event(), asyncio.Event()

    async def slow(transaction: Transaction) -> UUID:
        event_id = outbox.publish(transaction, topic.name, Int64Value(value=1), subject="slow", sequence=1)
        await transaction.flush()
        holds.set()
        await may_commit.wait()
        return event_id

    late = asyncio.create_task(database.unit_of_work(slow))
    await holds.wait()
    [early_id] = await publish(database, topic, "quick", [2])
    assert await relay.round() is False
    assert values(await topic.records()) == [2]
    may_commit.set()
    assert await late < early_id
    assert await relay.round() is False
    assert sorted(values(await topic.records())) == [1, 2]
    assert await own_database.value(f"{COUNT} WHERE published_at IS NULL") == 0


async def test_an_outcome_is_told_again_under_its_original_id(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event
) -> None:
    """`republish` sends the stored event once more: same id, same payload, same trace context, same time."""
    relay = Relay(database, producer, source="test", stopping=stopping)
    [event_id] = await publish(database, topic, "a")
    await relay.round()
    await database.unit_of_work(outbox.republish, subject="a", sequence=1)
    await relay.round()
    first, again = await topic.records()
    assert header(first, "ce_id") == header(again, "ce_id") == str(event_id)
    assert first.headers == again.headers
    assert first.value == again.value


async def test_an_event_that_waits_is_not_told_twice_by_republishing_it(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event
) -> None:
    """Republishing what was never sent changes nothing."""
    await publish(database, topic, "a")
    await database.unit_of_work(outbox.republish, subject="a", sequence=1)
    relay = Relay(database, producer, source="test", stopping=stopping)
    assert await relay.round() is False
    assert len(await topic.records()) == 1


async def test_a_version_of_an_aggregate_is_told_by_one_event_only(database: Database, topic: Topic) -> None:
    """(subject, sequence) is unique: two writers cannot both publish version 1."""
    await publish(database, topic, "a", [1])
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_outbox_subject_sequence"):
        await publish(database, topic, "a", [1])
    await publish(database, topic, "b", [1])


async def test_the_source_and_sequence_let_a_reader_see_a_gap(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event
) -> None:
    """`ce_sequence` counts per `ce_source` and `ce_subject`, whatever other aggregates do meanwhile."""
    relay = Relay(database, producer, source="test", stopping=stopping)
    for sequence in (1, 2):
        await publish(database, topic, "a", [sequence])
        await publish(database, topic, "b", [sequence])
    while await relay.round():
        pass
    events = [messages.parse(record.headers, record.value) for record in await topic.records()]
    assert {event.source for event in events} == {"test"}
    for subject in ("a", "b"):
        assert [event.sequence for event in events if event.subject == subject] == [1, 2]
