"""A redrive that meets what it cannot send back passes it over, in time, says so, and sends the rest."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from google.protobuf.wrappers_pb2 import Int64Value

from chassis import kafka, messages, redrive_sender
from chassis.dead_letters import DeadLetters
from chassis.kafka import Producer
from chassis.redrive import DeadLetterTopic, PassedOver
from chassis.redrive_sender import REDRIVEN
from chassis.settings import ServiceSettings
from chassis.testing import Spans, attributes
from chassis.tests.surroundings import Leaderless, Topic, event, header, send, values

# A real broker has no partitions that lose their leaders at a word.
pytestmark = pytest.mark.parametrize("containers", ["embedded"], indirect=True)

Headers = list[tuple[str, bytes | None]]

# Where the order `a` is.
OF_A = DefaultPartitioner()(b"a", range(4), range(4))
DIED: Headers = [
    ("dead_reason", b"unwell"),
    ("dead_topic", b"t"),
    ("dead_partition", b"0"),
    ("dead_offset", b"0"),
    ("dead_group", b"g"),
    ("dead_time", b"2026-01-02T03:04:05+00:00"),
]


@pytest.fixture
def dead(settings: ServiceSettings, topic: Topic) -> DeadLetterTopic:
    return DeadLetterTopic(settings.kafka_bootstrap_servers, topic.name)


@pytest.fixture
async def graveyard(settings: ServiceSettings) -> AsyncIterator[Producer]:
    """Takes what no topic of messages would."""
    async with kafka.producer(settings, "graveyard", message_bytes_max=4 * 2**20) as producer:
        yield producer


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrive_sender, "SEND_SECONDS_MAX", 1.0)


async def die(graveyard: Producer, topic: Topic, number: int, *, subject: str = "a", **changed: bytes | None) -> None:
    """Put a letter there, as a group buries a message."""
    sent = event(subject, number)
    died = {**dict(DIED), "dead_offset": str(number).encode(), **changed}
    headers: Any = [*messages.headers(sent), *died.items()]
    await graveyard.send_and_wait(topic.dead.name, sent.payload, sent.key, headers)


@pytest.mark.parametrize("name", [name for name, _ in DIED])
@pytest.mark.parametrize(("value", "why"), [(None, "is null"), (b"\xff", "is not UTF-8")])
async def test_headers_that_cannot_be_read_are_passed_over(
    dead: DeadLetterTopic, topic: Topic, graveyard: Producer, name: str, value: bytes | None, why: str
) -> None:
    """Nobody knows what the letter is; those behind it are sent, and the next redrive sends nothing twice."""
    await topic.records()
    changed: Any = {name: value}
    await die(graveyard, topic, 1, **changed)
    await die(graveyard, topic, 2)
    async with dead:
        assert await dead.redrive() == 1
        assert dead.passed_over == {f"header {name!r} {why}": 1}
        assert await dead.redrive() == 0
        assert [letter.is_redriven async for letter in dead.letters()] == [False, True]
        with pytest.raises(PassedOver, match=why):
            await dead.redrive_one(OF_A, 0)
    assert values(await topic.records()) == [2]


async def test_a_letter_that_nobody_buried_is_sent_once(
    dead: DeadLetterTopic, topic: Topic, graveyard: Producer
) -> None:
    """Without headers of a death it is like no other, and is sent."""
    await topic.records()
    for number in (1, 2):
        await die(graveyard, topic, number, dead_partition=b"", dead_offset=b"")
    await send(graveyard, topic.dead, event("a", 3))
    async with dead:
        # Two that say the same of their death are one message.
        assert await dead.redrive() == 2
    assert values(await topic.records()) == [1, 3]


async def test_a_message_that_is_too_large_is_passed_over(
    dead: DeadLetterTopic, topic: Topic, graveyard: Producer
) -> None:
    """Its twin, of another group, is not tried; what comes behind is sent."""
    await topic.records()
    large = event("a", 1, Int64Value(value=1))
    for group in (b"g", b"h"):
        headers: Any = [*messages.headers(large), *({**dict(DIED), "dead_group": group}).items()]
        await graveyard.send_and_wait(topic.dead.name, b"x" * 2_500_000, large.key, headers)
    await die(graveyard, topic, 2)
    async with dead:
        assert await dead.redrive() == 1
        assert dead.passed_over == {f"{topic} does not take it: MessageSizeTooLarge": 2}
        with pytest.raises(PassedOver, match="MessageSizeTooLarge"):
            await dead.redrive_one(OF_A, 0)
    assert values(await topic.records()) == [2]


def of_partition(partition: int, count: int) -> list[str]:
    """Subjects that the library sends there."""
    subjects = (f"order-{number}" for number in range(1_000))
    return [each for each in subjects if DefaultPartitioner()(each.encode(), range(4), range(4)) == partition][:count]


async def test_a_partition_without_a_leader_costs_its_time_once(
    broker: Leaderless, dead: DeadLetterTopic, topic: Topic, graveyard: Producer
) -> None:
    """However many letters are for it; all others are sent, and those that were left are sent when it has one again."""
    await topic.records()
    for number, (lost, healthy) in enumerate(zip(of_partition(0, 20), of_partition(2, 20), strict=True)):
        await die(graveyard, topic, number, subject=lost)
        await die(graveyard, topic, 100 + number, subject=healthy)
    broker.take_leader(topic.name, 0)
    began = time.monotonic()
    async with dead:
        assert await dead.redrive() == 20
        assert time.monotonic() - began < 10
        [(why, count)] = dead.passed_over.items()
        assert (why.startswith(f"partition 0 of {topic} does not take it"), count) == (True, 20)
        broker.give_leader(topic.name, 0)
        assert await dead.redrive() == 20
        assert not dead.passed_over
    assert sorted(values(await topic.records())) == [*range(20), *range(100, 120)]


async def test_without_a_broker_nothing_is_passed_over(
    broker: Leaderless, dead: DeadLetterTopic, topic: Topic, graveyard: Producer
) -> None:
    """That is no fault of the letters: it fails, in time, and a later redrive sends them."""
    await topic.records()
    for number in range(5):
        await die(graveyard, topic, number)
    async with asyncio.timeout(30):
        with pytest.raises((KafkaError, OSError)):
            async with dead:
                broker.down()
                await dead.redrive()
        with pytest.raises((KafkaError, OSError)):
            async with dead:
                pass
    broker.up()
    async with dead:
        assert await dead.redrive() == 5
    assert values(await topic.records()) == [*range(5)]


async def test_a_redrive_is_a_span_that_links_to_the_message_s_trace(
    dead: DeadLetterTopic, topic: Topic, graveyard: Producer, spans: Spans
) -> None:
    """In a trace of its own: the message's may be long over. One whose message is not taken is an error."""
    await topic.records()
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    await die(graveyard, topic, 1, traceparent=f"00-{trace_id}-{span_id}-01".encode())
    async with dead:
        assert await dead.redrive() == 1
    span = spans.one(f"redrive {topic}")
    [link] = span.links
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == (trace_id, span_id)
    assert span.parent is None
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" != trace_id
    assert attributes(span)["shop.redriven"] == 1


async def test_how_often_a_message_was_sent_back_is_counted(
    dead: DeadLetterTopic, topic: Topic, producer: Producer, settings: ServiceSettings
) -> None:
    """In a header that a burial leaves alone; it is sent under the id and the trace that it had."""
    first = event("a", 1)
    await send(producer, topic, first)
    cemetery = DeadLetters(kafka.producer(settings, "dead"), asyncio.Event())
    for times in (1, 2, 3):
        *_, newest = await topic.records()
        await cemetery.bury(newest, "g", "unwell")
        async with dead:
            assert await dead.redrive() == 1
        *_, newest = await topic.records()
        assert header(newest, REDRIVEN) == str(times)
        assert header(newest, "ce_id") == str(first.id)
        assert not [name for name, _ in newest.headers if name.startswith("dead_")]
    await cemetery.close()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], b"1"),
        ([b"7"], b"8"),
        ([b"7", b"9"], b"10"),
        ([None], b"1"),
        ([b"\xff"], b"1"),
        ([b"-5"], b"1"),
        ([b"1_0"], b"1"),
        ([b""], b"1"),
        ([b"9" * 5_000], b"1"),
        ([b"9999999"], b"1000000"),
    ],
)
async def test_a_count_that_somebody_else_wrote_does_no_harm(
    dead: DeadLetterTopic, topic: Topic, graveyard: Producer, before: list[bytes | None], after: bytes
) -> None:
    """What is no number counts as none, and the header stands there once."""
    await topic.records()
    headers: Any = [*DIED, *((REDRIVEN, value) for value in before)]
    await graveyard.send_and_wait(topic.dead.name, b"", b"a", headers)
    async with dead:
        assert await dead.redrive() == 1
    [record] = await topic.records()
    assert record.headers == ((REDRIVEN, after),)
