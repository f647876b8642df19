"""The relay where one partition is sick: the others go on, and nothing of the sick one is lost or overtaken."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from google.protobuf.wrappers_pb2 import BytesValue
from structlog.testing import capture_logs

from chassis import kafka, outbox, relay
from chassis.database import Database, Transaction
from chassis.kafka import Producer
from chassis.relay import Relay
from chassis.settings import ServiceSettings
from chassis.testing import eventually
from chassis.tests.surroundings import OwnDatabase, Topic, publish, running, values
from chassis.tests.test_pace import GRACE_SECONDS_MAX, ORDERS_PER_SECOND, PACE_MIN, SECONDS, at_pace
from conftest import Broker

# Of a real broker with one node no single partition loses its leader.
pytestmark = pytest.mark.parametrize("containers", ["embedded"], indirect=True)

SICK = 2
WAITING = "SELECT count(*) FROM outbox WHERE published_at IS NULL"


async def subjects_of(producer: Producer, topic: Topic, number: int, *, prefix: str, sick: bool) -> list[str]:
    """So many aggregates whose events go to the sick partition, or to the others."""
    found: list[str] = []
    candidate = 0
    while len(found) < number:
        subject = f"{prefix}-{candidate}"
        candidate += 1
        if (await producer.partition(topic.name, subject.encode()) == SICK) is sick:
            found.append(subject)
    return found


@asynccontextmanager
async def leaderless(broker: Broker, topic: Topic) -> AsyncGenerator[None]:
    broker.take_leader(topic.name, SICK)
    try:
        yield
    finally:
        broker.give_leader(topic.name, SICK)


async def sent(topic: Topic, subject: str, number: int) -> bool:
    return values(await topic.records(), subject) == list(range(1, number + 1))


async def all_sent(own_database: OwnDatabase) -> bool:
    return await own_database.value(WAITING) == 0


async def test_a_partition_without_a_leader_holds_up_no_other(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    settings: ServiceSettings,
    stopping: asyncio.Event,
    broker: Broker,
) -> None:
    """Its events wait, though they are the oldest and more than the client takes; then they come, in their order."""
    sick = await subjects_of(producer, topic, 100, prefix="a", sick=True)
    [well] = await subjects_of(producer, topic, 1, prefix="z", sick=False)
    async with running(
        Relay(database, kafka.producer(settings, "relay"), source="test", stopping=stopping).run, stopping
    ):
        with capture_logs() as logs:
            async with leaderless(broker, topic):
                for subject in sick:
                    await publish(database, topic, subject, [1, 2])
                for sequence in range(1, 6):
                    await publish(database, topic, well, [sequence])
                    await eventually(lambda sequence=sequence: marked(own_database, well, sequence), seconds_max=5)
                assert await own_database.value(WAITING) == 200
            await eventually(lambda: all_sent(own_database))
    records = await topic.records()
    assert values(records, well) == [1, 2, 3, 4, 5]
    for subject in sick:
        assert list(dict.fromkeys(values(records, subject))) == [1, 2]
    told = [log["event"] for log in logs if log.get("partition") == SICK]
    assert told == ["events wait in the outbox, others go on", "events flow again"]


async def marked(own_database: OwnDatabase, subject: str, number: int) -> bool:
    count = "SELECT count(*) FROM outbox WHERE subject = $1 AND published_at IS NOT NULL"
    return await own_database.value(count, subject) >= number


async def test_more_may_rest_than_a_round_takes(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    settings: ServiceSettings,
    stopping: asyncio.Event,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A round that is full of what rests is followed by one that looks behind it, and then from the beginning again."""
    monkeypatch.setattr(relay, "BATCH_MAX", 5)
    sick = await subjects_of(producer, topic, 23, prefix="m", sick=True)
    well = [
        *await subjects_of(producer, topic, 2, prefix="a", sick=False),
        *await subjects_of(producer, topic, 2, prefix="z", sick=False),
    ]
    async with leaderless(broker, topic):
        for subject in (*sick, *well):
            await publish(database, topic, subject, [1])
        async with running(
            Relay(database, kafka.producer(settings, "relay"), source="test", stopping=stopping).run, stopping
        ):
            for subject in well:
                await eventually(lambda subject=subject: marked(own_database, subject, 1), seconds_max=5)
            for subject in well:
                await publish(database, topic, subject, [2])
                await eventually(lambda subject=subject: marked(own_database, subject, 2), seconds_max=5)
            assert await own_database.value(WAITING) == len(sick)


async def test_an_event_that_kafka_refuses_renews_no_producer(
    database: Database, own_database: OwnDatabase, topic: Topic, producer: Producer, stopping: asyncio.Event
) -> None:
    """It was never sent, so it left no gap: its aggregate rests, and the others' rounds are as quick as ever."""

    async def too_large(transaction: Transaction) -> None:
        outbox.publish(transaction, topic.name, BytesValue(value=b"x" * 1_100_000), subject="a", sequence=1)

    await database.unit_of_work(too_large)
    await publish(database, topic, "b", [1, 2])
    rounds, client = Relay(database, producer, source="test", stopping=stopping), producer.client
    assert await rounds.round() is True
    assert await rounds.round() is True
    assert await rounds.round() is False
    assert values(await topic.records(), "b") == [1, 2]
    assert await own_database.value(WAITING) == 1
    assert producer.client is client


async def test_the_other_partitions_keep_their_pace(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    settings: ServiceSettings,
    stopping: asyncio.Event,
    broker: Broker,
) -> None:
    """One of four partitions has no leader; its events come when it has one, in the order of their aggregates."""
    subjects: dict[str, bool] = {}
    for number in range(int(SECONDS * ORDERS_PER_SECOND)):
        subjects[f"order-{number}"] = await producer.partition(topic.name, f"order-{number}".encode()) != SICK
    names = list(subjects)

    async def place(number: int) -> None:
        await publish(database, topic, names[number], [1, 2, 3])

    relay = Relay(database, kafka.producer(settings, "relay"), source="test", stopping=stopping)
    async with running(relay.run, stopping):
        async with leaderless(broker, topic):
            await at_pace(place)
            well = 3 * sum(subjects.values())
            await eventually(lambda: published(own_database, PACE_MIN * well), seconds_max=GRACE_SECONDS_MAX)
            found = await own_database.ask("SELECT subject FROM outbox WHERE published_at IS NOT NULL")
            assert all(subjects[row["subject"]] for row in found)
        await eventually(lambda: all_sent(own_database), seconds_max=30)


async def published(own_database: OwnDatabase, number: float) -> bool:
    return await own_database.value("SELECT count(*) FROM outbox WHERE published_at IS NOT NULL") >= number
