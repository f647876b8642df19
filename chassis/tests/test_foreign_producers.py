"""What other clients of a real Kafka bring: transactions, a topic's own codec, a bad read, a topic with little room."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from structlog.testing import capture_logs

from chassis import messages
from chassis.database import Database
from chassis.kafka import Producer
from chassis.messages import Envelope
from chassis.onlooker import Onlooker
from chassis.settings import ServiceSettings
from chassis.testing import eventually, figure
from chassis.tests.containers import KafkaContainer
from chassis.tests.surroundings import Topic, all_done, effects, event, header, running, send, send_together
from chassis.tests.test_consumer import Group

pytestmark = pytest.mark.parametrize("containers", [pytest.param("docker", marks=pytest.mark.docker)], indirect=True)


@pytest.fixture
def group(database: Database, settings: ServiceSettings, topic: Topic, stopping: asyncio.Event) -> Group:
    return Group(database, settings, topic, stopping)


@asynccontextmanager
async def transactions(settings: ServiceSettings, name: str) -> AsyncGenerator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers, transactional_id=name)
    async with asyncio.timeout(20):
        await producer.start()
    try:
        yield producer
    finally:
        # It waits for the broker's answers about a transaction that is open, without an end of its own.
        async with asyncio.timeout(20):
            await producer.stop()


async def write(producer: AIOKafkaProducer, topic: Topic, *events: Envelope, partition: int = 0) -> None:
    for sent in events:
        headers = messages.headers(sent)
        await producer.send_and_wait(topic.name, sent.payload, key=sent.key, headers=headers, partition=partition)


async def made(settings: ServiceSettings, topic: Topic, partitions: int = 4, **configuration: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    try:
        named = {name.replace("_", "."): value for name, value in configuration.items()}
        await admin.create_topics([NewTopic(topic.name, partitions, 1, topic_configs=named)])
    finally:
        await admin.close()


async def test_what_a_transaction_wrote_is_applied_once_it_is_committed(
    database: Database,
    topic: Topic,
    stopping: asyncio.Event,
    group: Group,
    settings: ServiceSettings,
) -> None:
    """An aborted one was never said. Neither it nor the markers are lag, and the committed offset moves past them."""
    figure("shop.consumer.lag")
    await made(settings, topic)
    member = group.member()
    async with running(member.run, stopping), transactions(settings, f"{topic}") as producer:
        await producer.begin_transaction()
        await write(producer, topic, event("aborted", 1), event("aborted", 2))
        await producer.abort_transaction()
        await producer.begin_transaction()
        await write(producer, topic, event("committed", 1))
        await producer.commit_transaction()
        await producer.begin_transaction()
        await write(producer, topic, event("open", 1), event("open", 2))
        await all_done(database, 1)
        await eventually(lambda: lag(topic) == 0)
        await producer.abort_transaction()
        await producer.begin_transaction()
        await write(producer, topic, event("committed", 2))
        await producer.commit_transaction()
        await all_done(database, 2)
        await producer.begin_transaction()
        await write(producer, topic, event("aborted", 3))
        await producer.abort_transaction()
        # Messages 0, 1, 3, 5, 6, 8 and 10, and a marker behind each transaction.
        await eventually(lambda: committed(group, 12))
        assert lag(topic) == 0
    assert await effects(database) == [("committed", 1), ("committed", 2)]
    assert await topic.dead.records() == []


def lag(topic: Topic) -> float | None:
    return figure("shop.consumer.lag", topic=topic.name)


async def committed(group: Group, offset: int) -> bool:
    return await group.committed() == offset


async def test_a_partition_of_aborted_messages_alone_is_no_lag(
    database: Database, topic: Topic, stopping: asyncio.Event, group: Group, settings: ServiceSettings
) -> None:
    """Nothing of it ever comes, and yet it is passed."""
    await made(settings, topic)
    async with running(group.member().run, stopping), transactions(settings, f"{topic}") as producer:
        await producer.begin_transaction()
        await write(producer, topic, event("aborted", 1))
        await producer.abort_transaction()
        await eventually(lambda: committed(group, 2))
    assert lag(topic) in (None, 0)


async def test_an_onlooker_sees_what_was_committed_and_gets_to_the_end(topic: Topic, settings: ServiceSettings) -> None:
    """The last offsets bring no message: markers, and messages of aborted transactions."""
    await made(settings, topic)
    async with transactions(settings, f"{topic}") as producer:
        for name in ("committed", "aborted", "committed", "aborted"):
            await producer.begin_transaction()
            await write(producer, topic, event(name), partition=0)
            await write(producer, topic, event(name), partition=1)
            await (producer.commit_transaction() if name == "committed" else producer.abort_transaction())
    async with Onlooker(settings.kafka_bootstrap_servers) as onlooker, asyncio.timeout(10):
        for _ in range(2):
            assert [record.key async for record in onlooker.past([topic.name])] == [b"committed"] * 4


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_a_topic_may_compress_what_it_is_given(
    codec: str,
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    settings: ServiceSettings,
) -> None:
    """The broker compresses the shop's own events: by one setting of a topic, which an operator may choose."""
    await made(settings, topic, compression_type=codec)
    await send_together(producer, topic, *(event("order", number) for number in range(1, 11)))
    async with running(group.member().run, stopping):
        await all_done(database, 10)
    assert await effects(database) == [("order", number) for number in range(1, 11)]


async def test_one_bad_read_is_no_loss(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group, broker: KafkaContainer
) -> None:
    """Bytes that change on the way: the batch is fetched once more, and all of it is applied."""
    await send_together(producer, topic, event("before"), event("on-its-way"), event("after"))
    broker.damage_once(b"on-its-way")
    with capture_logs() as logs:
        async with running(group.member().run, stopping):
            await all_done(database, 3)
    assert asked_again(logs)
    assert sorted(await effects(database)) == [("after", 1), ("before", 1), ("on-its-way", 1)]
    assert await topic.dead.records() == []


def asked_again(logs: list[Any]) -> list[Mapping[str, Any]]:
    return [log for log in logs if log["event"] == "a batch cannot be read; it is fetched once more"]


@pytest.mark.parametrize("room", [20_000, 2_000])
async def test_a_dead_letter_is_cut_to_the_room_that_its_topic_has(
    room: int,
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    settings: ServiceSettings,
) -> None:
    """The broker refuses it for its size, and takes a smaller one."""
    await made(settings, topic)
    await made(settings, topic.dead, max_message_bytes=str(room))
    await producer.send_and_wait(topic.name, b"x" * 100_000, key=b"a", headers=[("ce_id", b"no id")])
    await send(producer, topic, event("after"))
    async with running(group.member().run, stopping):
        await all_done(database, 1)
        await eventually(topic.dead.records)
    [dead] = await topic.dead.records()
    assert (header(dead, "dead_value_bytes"), header(dead, "ce_id")) == ("100000", "no id")
    assert 0 < len(dead.value or b"") < room


async def test_without_a_dead_letter_topic_only_one_partition_waits(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    settings: ServiceSettings,
) -> None:
    """Of a name that Kafka takes for no topic: the other partitions go on, and the process lives."""
    # With its suffix the name is longer than a topic's may be.
    topic.name = (topic.name + "x" * 249)[:247]
    await made(settings, topic)
    async with running(group.member().run, stopping) as task, transactions(settings, "poison") as poison:
        await poison.begin_transaction()
        await poison.send_and_wait(topic.name, b"", key=b"a", partition=0)
        await poison.commit_transaction()
        for number in range(1, 11):
            await poison.begin_transaction()
            await write(poison, topic, event("order", number), partition=1)
            await poison.commit_transaction()
        await all_done(database, 10)
        assert not task.done()
        assert await group.committed() <= 20
