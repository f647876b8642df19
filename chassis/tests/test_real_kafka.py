"""What only a real Kafka does: it restarts, it counts its producers' messages, it shares a topic among members."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import OutOfOrderSequenceNumber
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value
from structlog.testing import capture_logs

from chassis import kafka
from chassis.consumer import Consumer
from chassis.database import Database, Transaction
from chassis.dead_letters import DeadLetters
from chassis.kafka import Producer
from chassis.messages import Envelope
from chassis.relay import Relay
from chassis.router import Handler, Subscription
from chassis.settings import ServiceSettings
from chassis.testing import eventually
from chassis.tests.containers import KafkaContainer
from chassis.tests.surroundings import (
    Held,
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

# The embedded broker can do none of it.
pytestmark = pytest.mark.parametrize("containers", [pytest.param("docker", marks=pytest.mark.docker)], indirect=True)

EVENTS_WAIT = "events wait in the outbox"
SUBJECTS = [f"order-{number}" for number in range(8)]


def member(
    database: Database,
    settings: ServiceSettings,
    topic: Topic,
    stopping: asyncio.Event,
    handler: Handler = note_effect,
) -> Consumer:
    return Consumer(
        database,
        kafka.consumer(settings, f"{topic}.group"),
        Subscription(f"{topic}.group", (topic.name,), {Int64Value: handler}),
        DeadLetters(kafka.producer(settings, "dead"), stopping),
        stopping=stopping,
    )


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_events_flow_again_after_kafka_was_away(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    settings: ServiceSettings,
    stopping: asyncio.Event,
    broker: KafkaContainer,
    killed: bool,
) -> None:
    """Stopped or killed under a working relay and consumer, and started again: each event is applied once, in order."""
    relay = Relay(database, kafka.producer(settings, "relay"), source="test", stopping=stopping)
    consumer = member(database, settings, topic, stopping)
    enough, published = asyncio.Event(), 0

    async def keep_publishing() -> None:
        nonlocal published
        while not await kafka.wait(enough, 0.2):
            published += 1
            for subject in SUBJECTS:
                await publish(database, topic, subject, [published])

    async with running(relay.run, stopping), running(consumer.run, stopping), running(keep_publishing, enough):
        await all_done(database, 8)
        with capture_logs() as logs:
            async with broker.stopped(killed=killed):
                # After so many the library has given up what it held when the topic's leader went.
                gone_at = published
                await eventually(lambda: published >= gone_at + 40, seconds_max=30)
                # Of the broker, or of each partition, if its last words were that they have no leader.
                assert [log for log in logs if log["event"].startswith(EVENTS_WAIT)]
        enough.set()
        await eventually(lambda: applied(database, 8 * published), seconds_max=30)
    done = await effects(database)
    for subject in SUBJECTS:
        assert [sequence for found, sequence in done if found == subject] == list(range(1, published + 1))
    assert await own_database.value("SELECT count(*) FROM outbox WHERE published_at IS NULL") == 0


async def applied(database: Database, number: int) -> bool:
    return len(await effects(database)) >= number


async def test_a_gap_in_a_producer_s_numbering_is_healed(topic: Topic, producer: Producer) -> None:
    """The broker refuses what follows a number it never saw; the next message is the first of a new numbering."""
    await send(producer, topic, event("a", 1))
    [sent] = await topic.records()
    numbers = producer.client._txn_manager  # pyright: ignore[reportPrivateUsage] - as giving up a batch would
    assert numbers is not None
    numbers.increment_sequence_number(TopicPartition(topic.name, sent.partition), 1)
    with pytest.raises(OutOfOrderSequenceNumber):
        await send(producer, topic, event("a", 2))
    await send(producer, topic, event("a", 2), event("a", 3))
    assert values(await topic.records()) == [1, 2, 3]


async def test_members_of_a_group_share_its_partitions(
    database: Database, topic: Topic, producer: Producer, settings: ServiceSettings, stopping: asyncio.Event
) -> None:
    """A second member takes over some partitions and gives them back; each event is applied once, in its order."""
    done_by: defaultdict[str, set[str]] = defaultdict(set)

    def noting(name: str) -> Handler:
        async def handler(transaction: Transaction, event: Message, envelope: Envelope) -> None:
            done_by[name].add(envelope.subject)
            await note_effect(transaction, event, envelope)

        return handler

    async def sequences(*numbers: int) -> None:
        for number in numbers:
            await send(producer, topic, *(event(subject, number) for subject in SUBJECTS))

    leaving = asyncio.Event()
    async with running(member(database, settings, topic, stopping, noting("first")).run, stopping):
        await sequences(1)
        await all_done(database, 8)
        sequence = 1
        async with running(member(database, settings, topic, leaving, noting("second")).run, leaving):
            while not done_by["second"]:
                sequence += 1
                await sequences(sequence)
            done_by.clear()
            await sequences(sequence + 1, sequence + 2)
            await eventually(lambda: applied(database, 8 * (sequence + 2)))
            assert done_by["first"] | done_by["second"] == set(SUBJECTS)
            assert done_by["first"] and done_by["second"] and not done_by["first"] & done_by["second"]
        await sequences(sequence + 3)
        await eventually(lambda: applied(database, 8 * (sequence + 3)))
    done = await effects(database)
    for subject in SUBJECTS:
        assert [found for found in done if found[0] == subject] == [(subject, n) for n in range(1, sequence + 4)]


async def test_a_rebalance_does_not_wait_for_what_cannot_be_finished(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    settings: ServiceSettings,
    stopping: asyncio.Event,
) -> None:
    """A second member joins while the database is away: both have their partitions soon, and later every event is once.

    The first gives up what it has in hand; whoever owns its partition then gets it again.
    """
    second = member(database, settings, topic, stopping)
    async with running(member(database, settings, topic, stopping).run, stopping) as first_runs:
        await send(producer, topic, *(event(subject, 1) for subject in SUBJECTS))
        await all_done(database, 8)
        await own_database.down()
        try:
            with capture_logs() as logs:
                await send(producer, topic, *(event(subject, 2) for subject in SUBJECTS))
                await eventually(lambda: "the database does not answer; trying again" in events_of(logs))
                async with running(second.run, stopping) as second_runs:
                    await eventually(lambda: events_of(logs).count("partitions assigned") == 2)
                    assert "partitions move with messages in hand; they come again" in events_of(logs)
                    assert "partitions move while a handler still works" not in events_of(logs)
                    # Both meet the outage.
                    found = len(logs)
                    await eventually(lambda: len(logs) >= found + 4)
                    await own_database.up()
                    await eventually(lambda: applied(database, 16))
                    assert not first_runs.done() and not second_runs.done()
        finally:
            await own_database.up()
    assert sorted(await effects(database)) == [(subject, sequence) for subject in SUBJECTS for sequence in (1, 2)]
    assert await topic.dead.records() == []


def events_of(logs: Sequence[Mapping[str, object]]) -> list[object]:
    return [log["event"] for log in logs]


@asynccontextmanager
async def paused(broker: KafkaContainer) -> AsyncGenerator[None]:
    """Its connections stay open, and nothing comes over them."""
    server = broker.container.get_wrapped_container()
    await asyncio.to_thread(server.pause)
    try:
        yield
    finally:
        await asyncio.to_thread(server.unpause)


async def test_a_consumer_can_be_stopped_while_kafka_answers_nothing(
    database: Database,
    topic: Topic,
    producer: Producer,
    settings: ServiceSettings,
    stopping: asyncio.Event,
    broker: KafkaContainer,
) -> None:
    """A broker that takes a request and never answers it holds nobody up either."""
    held = Held()
    await send(producer, topic, event("a", 1))
    async with running(member(database, settings, topic, stopping, held.handle).run, stopping) as task:
        await held.works.wait()
        async with paused(broker):
            held.may_end.set()
            await all_done(database, 1)
            stopping.set()
            async with asyncio.timeout(settings.shutdown_grace_seconds):
                await task
