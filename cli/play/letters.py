"""Messages on Kafka as a scenario writes and finds them: published, copied byte for byte, dead, sent back."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from chassis.redrive import DeadLetter, DeadLetterTopic
from cli.failures import NotAsExpected

SECONDS_MAX = 15.0
POLL_SECONDS = 0.1

Json = dict[str, Any]


async def publish(kafka: str, topic: str, value: bytes, headers: Mapping[str, str], key: str) -> Json:
    """Write a message; returns where it is."""
    async with _producer(kafka) as producer:
        encoded = [(name, text.encode()) for name, text in headers.items()]
        sent = await producer.send_and_wait(topic, value, key=key.encode(), headers=encoded)
    return {"topic": topic, "partition": sent.partition, "offset": sent.offset}


async def copy(kafka: str, topic: str, partition: int, offset: int) -> None:
    """Write the message at this place once more, with its key, its headers and its partition."""
    place = TopicPartition(topic, partition)
    # Without a group: it takes nothing away from anybody.
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed")
    await consumer.start()
    try:
        consumer.assign([place])
        consumer.seek(place, offset)
        async with asyncio.timeout(SECONDS_MAX):
            record: ConsumerRecord[bytes, bytes] = await consumer.getone()
    finally:
        await consumer.stop()
    async with _producer(kafka) as producer:
        headers = list(record.headers)
        await producer.send_and_wait(topic, record.value, key=record.key, headers=headers, partition=partition)


async def dead(kafka: str, topic: str, event_id: str, copies: int) -> Json:
    """The newest dead letter of an event, once there are so many of it.

    Raises:
        NotAsExpected: there are fewer in time.
    """
    found: list[DeadLetter] = []
    try:
        async with asyncio.timeout(SECONDS_MAX):
            while len(found) < copies:
                async with DeadLetterTopic(kafka, topic) as letters:
                    found = [each async for each in letters.letters() if _id(each) == event_id.encode()]
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise NotAsExpected(
            f"{len(found)} of {copies} dead letters of {topic} came within {SECONDS_MAX:g} s."
        ) from None
    newest = max(found, key=lambda letter: letter.record.timestamp or 0)
    return {**newest.died(), "id": f"{topic}/{newest.record.partition}/{newest.record.offset}"}


def _id(letter: DeadLetter) -> bytes | None:
    return dict(letter.record.headers).get("ce_id")


async def redrive(kafka: str, letter: Json) -> None:
    """Send a dead letter back."""
    _, partition, offset = letter["id"].split("/")
    async with DeadLetterTopic(kafka, letter["topic"]) as letters:
        await letters.redrive_one(int(partition), int(offset))


@asynccontextmanager
async def _producer(kafka: str) -> AsyncGenerator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
