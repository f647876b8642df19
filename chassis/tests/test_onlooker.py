"""Topics read by one who is a member of no group."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from aiokafka.errors import KafkaError

from chassis.kafka import Producer
from chassis.onlooker import Onlooker
from chassis.settings import ServiceSettings
from chassis.tests.surroundings import Topic, event, send, settings_of_nowhere


@pytest.fixture
async def onlooker(settings: ServiceSettings) -> AsyncIterator[Onlooker]:
    async with Onlooker(settings.kafka_bootstrap_servers) as onlooker:
        yield onlooker


async def values(onlooker: Onlooker, *topics: Topic) -> list[bytes | None]:
    return [record.key async for record in onlooker.past([topic.name for topic in topics])]


async def test_what_is_there_is_read_in_the_order_of_time(onlooker: Onlooker, topic: Topic, producer: Producer) -> None:
    """Over topics and partitions; again and again, for nothing is taken away."""
    other = topic.dead
    names = [f"{number:03}" for number in range(120)]
    began_at_ms = int(time.time() * 1000)
    for number, name in enumerate(names):
        to = (topic, other)[number % 2].name
        await (await producer.send(to, b"", key=name.encode(), timestamp_ms=began_at_ms + number))
    began_at = time.monotonic()
    for _ in range(2):
        assert await values(onlooker, topic, other) == [name.encode() for name in names]
    # A mock broker gives one message for each partition that it is asked for: none may wait for another's.
    assert time.monotonic() - began_at < 3


async def test_a_topic_that_is_empty_or_unknown_has_nothing(onlooker: Onlooker, topic: Topic) -> None:
    assert await topic.records() == []
    assert await values(onlooker, topic, topic.dead) == []


async def test_whatever_comes_after_the_question_is_seen(onlooker: Onlooker, topic: Topic, producer: Producer) -> None:
    """From now on, or from the beginning; an end that moves meanwhile makes no gap and no repeat."""
    await send(producer, topic, event("a"), event("b"))
    from_now = await onlooker.tail([topic.name], from_beginning=False)
    await send(producer, topic, event("c"))
    async with aclosing(from_now), asyncio.timeout(10):
        assert (await anext(from_now)).key == b"c"
    from_beginning = await onlooker.tail([topic.name], from_beginning=True)
    await send(producer, topic, event("d"))
    async with aclosing(from_beginning), asyncio.timeout(10):
        assert {(await anext(from_beginning)).key for _ in range(4)} == {b"a", b"b", b"c", b"d"}


async def test_a_group_that_has_committed_nothing_is_told_so(onlooker: Onlooker, topic: Topic) -> None:
    """It need not exist."""
    await topic.records()
    partitions = await onlooker.partitions([topic.name])
    committed = await onlooker.committed(f"{topic}.nobody", partitions)
    assert {each.offset for each in committed.values()} == {-1}


async def test_a_broker_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(KafkaError):
        async with Onlooker(settings_of_nowhere().kafka_bootstrap_servers):
            pass
