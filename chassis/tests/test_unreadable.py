"""What the client library cannot read: it ends no process, costs no neighbour, is buried with what is known of it."""

import asyncio
import gzip
import struct
from collections.abc import Sequence
from typing import Any, cast

import confluent_kafka
import cramjam
import pytest
from structlog.testing import capture_logs

from chassis import messages
from chassis.consumer import Consumer
from chassis.database import Database
from chassis.kafka import Producer
from chassis.redrive import DeadLetterTopic, PassedOver
from chassis.settings import ServiceSettings
from chassis.testing import eventually, figure
from chassis.tests.foreign_batches import (
    COUNT_AT,
    HEADER_BYTES,
    LAST_DELTA_AT,
    batch,
    compressed,
    number,
    put,
    record,
    sealed,
)
from chassis.tests.group import Group
from chassis.tests.surroundings import Broker, Record, Topic, all_done, effects, event, header, running, send

# A real broker does not take most of it; what it does take is in `test_foreign_producers`.
pytestmark = pytest.mark.parametrize("containers", ["embedded"], indirect=True)

NAME, NO_UTF8 = b"ce_other", b"ce_oth\xff\xfe"


@pytest.fixture
def group(database: Database, settings: ServiceSettings, topic: Topic, stopping: asyncio.Event) -> Group:
    return Group(database, settings, topic, stopping)


@pytest.fixture
async def member(group: Group) -> Consumer:
    return group.member()


def bad_name(subject: str, delta: int = 0) -> bytes:
    """A record whose header's name is not UTF-8, without its length."""
    return record_of(subject, delta).replace(NAME, NO_UTF8)


def record_of(subject: str, delta: int = 0) -> bytes:
    """A record that can be read, without its length."""
    sent = event(subject)
    headers = [*messages.headers(sent), (NAME.decode(), b"")]
    content = b"\0" + number(0) + number(delta) + number(len(sent.key)) + sent.key
    content += number(len(sent.payload)) + sent.payload + number(len(headers))
    for name, value in headers:
        content += number(len(name)) + name.encode() + number(len(value)) + value
    return content


def of(*records: bytes, count: int | None = None, last_delta: int | None = None) -> bytes:
    """A batch of these records, whatever they are; what its header says can be another thing."""
    made = batch(event("header"))[:HEADER_BYTES] + b"".join(records)
    struct.pack_into(">i", made, COUNT_AT, len(records) if count is None else count)
    struct.pack_into(">i", made, LAST_DELTA_AT, len(records) - 1 if last_delta is None else last_delta)
    return sealed(made)


def bomb(codec: int, content: bytes) -> bytes:
    return compressed(batch(event("bomb")), codec, content)


def damaged(raw: bytes | bytearray) -> bytes:
    made = bytearray(raw)
    made[-3] ^= 0xFF
    return bytes(made)


def with_last_delta(raw: bytes, delta: int) -> bytes:
    return raw[:LAST_DELTA_AT] + struct.pack(">i", delta) + raw[LAST_DELTA_AT + 4 :]


ZEROS = bytes(20 * 2**20)
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
WHOLE: dict[str, tuple[bytes, str]] = {
    "damaged": (damaged(batch(event("damaged"))), "the checksum does not hold"),
    "damaged header": (with_last_delta(bytes(batch(event("damaged"))), 2**30), "the checksum does not hold"),
    "unknown codec": (bomb(5, b"abc"), "codec 5 is unknown"),
    "no gzip": (bomb(GZIP, b"abc"), "gzip"),
    "gzip cut off": (bomb(GZIP, gzip.compress(bytes(batch(event("cut")))[HEADER_BYTES:])[:-20]), "gzip"),
    "no snappy": (bomb(SNAPPY, b"\x10abc"), "snappy"),
    "no lz4": (bomb(LZ4, b"abc"), "lz4"),
    "no zstd": (bomb(ZSTD, b"abc"), "zstd"),
    "gzip bomb": (bomb(GZIP, gzip.compress(ZEROS)), "gzip: it unfolds to more than 8388608 bytes"),
    "snappy bomb": (bomb(SNAPPY, bytes(cramjam.snappy.compress_raw(ZEROS))), "snappy: it unfolds to more than"),
    "lz4 bomb": (bomb(LZ4, bytes(cramjam.lz4.compress(ZEROS))), "lz4"),
    "zstd bomb": (bomb(ZSTD, bytes(cramjam.zstd.compress(ZEROS))), "zstd"),
    "no records": (of(count=1, last_delta=0), "1 records are announced, and there is none"),
    "control": (sealed(batch(event("no"))[:21] + b"\0\x20" + batch(event("no"))[23:]), "a marker of a transaction"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
async def test_a_batch_that_nobody_can_read_is_buried_as_it_is(
    name: str, database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, member: Consumer
) -> None:
    """Between two that can be read: both are applied; its place, reason and bytes lie among the dead letters."""
    raw, reason = WHOLE[name]
    await put(producer, topic, bytes(batch(event("before"))))
    offset = await put(producer, topic, raw)
    await put(producer, topic, bytes(batch(event("after"))))
    figure("shop.dead_letters")
    async with running(member.run, stopping):
        await all_done(database, 2)
        await eventually(topic.dead.records)
    [dead] = await topic.dead.records()
    assert await effects(database) == [("before", 1), ("after", 1)]
    assert reason in header(dead, "dead_reason")
    assert place(dead) == (topic.name, "0", str(offset), str(offset))
    assert header(dead, "dead_raw") == "batch"
    # The broker has given it its offset and its own epoch.
    assert dead.value and dead.value[16:] == raw[16:]
    assert figure("shop.dead_letters", topic=topic.name) == 1


def place(dead: Record) -> tuple[str, str, str, str]:
    return (
        header(dead, "dead_topic"),
        header(dead, "dead_partition"),
        header(dead, "dead_first_offset"),
        header(dead, "dead_offset"),
    )


# What the batch is, the subjects applied in its order, and of each dead letter the deltas that it stands for.
PARTS: dict[str, tuple[bytes, Sequence[str], Sequence[tuple[int, int]]]] = {
    "a header's name is not UTF-8": (
        of(record(record_of("a")), record(bad_name("b", 1)), record(record_of("c", 2))),
        ["a", "c"],
        [(1, 1)],
    ),
    "the only record's name is not UTF-8": (of(record(bad_name("b"))), [], [(0, 0)]),
    "a record says that it is longer than its batch": (
        of(record(record_of("a")), number(100_000) + record_of("b", 1), record(record_of("c", 2))),
        ["a"],
        [(1, 2)],
    ),
    "a record says that it has less than nothing": (
        of(record(record_of("a")), number(-5) + record_of("b", 1), record(record_of("c", 2))),
        ["a"],
        [(1, 2)],
    ),
    "a record says that it is shorter than it is": (
        of(record(record_of("a")), record(record_of("b", 1)[:-9]), record(record_of("c", 2))),
        ["a", "c"],
        [(1, 1)],
    ),
    "a record has more headers than bytes": (
        of(
            record(record_of("a")), record(b"\0\0" + number(1) + b"\x01\x01" + number(2**40)), record(record_of("c", 2))
        ),
        ["a", "c"],
        [(1, 1)],
    ),
    "a record has less than no headers": (
        of(record(record_of("a")), record(b"\0\0" + number(1) + b"\x01\x01" + number(-1)), record(record_of("c", 2))),
        ["a", "c"],
        [(1, 1)],
    ),
    "a key is longer than its record": (
        of(record(record_of("a")), record(b"\0\0" + number(1) + number(2**62) + b"key"), record(record_of("c", 2))),
        ["a", "c"],
        [(1, 1)],
    ),
    "a number has no end": (
        of(record(record_of("a")), record(b"\0" + b"\xff" * 20), record(record_of("c", 2))),
        ["a", "c"],
        [(1, 1)],
    ),
    "more records are announced than there are": (
        of(record(record_of("a")), record(record_of("b", 1)), count=3, last_delta=1),
        ["a", "b"],
        [(2, 2)],
    ),
    "two records have one offset": (
        of(record(record_of("a")), record(record_of("b")), record(record_of("c", 2))),
        ["a", "c"],
        [(1, 1)],
    ),
    "an offset lies far beyond its batch": (
        of(record(record_of("a")), record(record_of("b", 1_000)), record(record_of("c", 2))),
        ["a", "c"],
        [(1, 1)],
    ),
    "the last offset is said to be less": (
        of(record(record_of("a")), record(record_of("b", 1)), record(record_of("c", 2)), last_delta=0),
        ["a", "b", "c"],
        [],
    ),
    "the last offset is said to be far beyond": (
        of(record(record_of("a")), record(record_of("b", 1)), last_delta=2**31 - 1),
        ["a", "b"],
        [],
    ),
    "the last offset is said to be below zero": (
        of(record(record_of("a")), record(record_of("b", 1)), last_delta=-7),
        ["a", "b"],
        [],
    ),
    "bytes come behind the last": (
        of(record(record_of("a")), record(record_of("b", 1)), b"\0\0garbage", count=2, last_delta=1),
        ["a", "b"],
        [(1, 1)],
    ),
    "compressed, with one that cannot be read": (
        compressed(
            bytearray(of(b"", b"")),
            ZSTD,
            bytes(cramjam.zstd.compress(record(bad_name("a")) + record(record_of("b", 1)))),
        ),
        ["b"],
        [(0, 0)],
    ),
}


@pytest.mark.parametrize("name", PARTS)
async def test_of_a_batch_what_can_be_read_is_applied(
    name: str, database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, member: Consumer
) -> None:
    """Record by record: the readable ones are applied, the others are buried, and the next batch is handled."""
    raw, applied, dead = PARTS[name]
    await put(producer, topic, bytes(batch(event("before"))))
    begins = await put(producer, topic, raw)
    await put(producer, topic, bytes(batch(event("after"))))
    async with running(member.run, stopping):
        await eventually(lambda: has(database, "after"))
        await eventually(lambda: buried(topic, len(dead)))
    assert await effects(database) == [(subject, 1) for subject in ("before", *applied, "after")]
    letters = sorted(await topic.dead.records(), key=lambda each: int(header(each, "dead_offset")))
    assert [place(each)[2:] for each in letters] == [(str(begins + first), str(begins + last)) for first, last in dead]


async def has(database: Database, subject: str) -> bool:
    return (subject, 1) in await effects(database)


async def buried(topic: Topic, count: int) -> bool:
    return len(await topic.dead.records()) == count


async def test_no_healthy_record_is_lost_beside_what_cannot_be_read(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, member: Consumer
) -> None:
    """Twenty batches to each of four partitions, every third one broken: all others are applied, once and in order."""
    wanted: list[tuple[str, int]] = []
    for sequence in range(1, 21):
        for partition in range(4):
            if sequence % 3:
                wanted.append((f"order-{partition}", sequence))
                await put(producer, topic, bytes(batch(event(f"order-{partition}", sequence))), partition)
            else:
                await put(producer, topic, damaged(batch(event("damaged"))), partition)
    async with running(member.run, stopping):
        await all_done(database, len(wanted))
        await eventually(lambda: buried(topic, 24))
    done = await effects(database)
    assert len(done) == len(wanted)
    for partition in range(4):
        subject = f"order-{partition}"
        assert [each for each in done if each[0] == subject] == [each for each in wanted if each[0] == subject]


async def test_what_was_buried_as_bytes_is_not_sent_back(
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    member: Consumer,
    settings: ServiceSettings,
) -> None:
    """Neither with all others nor by itself: it is no message."""
    await put(producer, topic, damaged(batch(event("damaged"))))
    await put(producer, topic, of(record(bad_name("b"))))
    async with running(member.run, stopping):
        await eventually(lambda: buried(topic, 2))
    written = len(await topic.dead.records())
    async with DeadLetterTopic(settings.kafka_bootstrap_servers, topic.name) as dead:
        assert await dead.redrive() == 0
        for letter in [each async for each in dead.letters()]:
            with pytest.raises(PassedOver):
                await dead.redrive_one(letter.record.partition, letter.record.offset)
    assert written == 2


async def test_what_was_buried_is_not_buried_again(
    database: Database, topic: Topic, producer: Producer, settings: ServiceSettings, group: Group
) -> None:
    """Its offset is committed: a second member begins behind it."""
    await put(producer, topic, damaged(batch(event("damaged"))))
    for subject in ("a", "b"):
        stopping = asyncio.Event()
        group = Group(database, settings, topic, stopping)
        async with running(group.member().run, stopping):
            await send(producer, topic, event(subject))
            await eventually(lambda: buried(topic, 1))
            await eventually(lambda subject=subject: has(database, subject))
    assert await group.committed() == 3
    assert len(await topic.dead.records()) == 1


async def test_a_batch_is_fetched_once_more_before_it_is_given_up(
    topic: Topic, producer: Producer, stopping: asyncio.Event, member: Consumer
) -> None:
    """Once, and it is said."""
    await put(producer, topic, damaged(batch(event("damaged"))))
    with capture_logs() as logs:
        async with running(member.run, stopping):
            await eventually(topic.dead.records)
    said = [log for log in logs if log["event"] == "a batch cannot be read; it is fetched once more"]
    assert [(log["topic"], log["offset"], log["reason"]) for log in said] == [
        (topic.name, 0, "the checksum does not hold")
    ]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_is_read(
    codec: str, database: Database, topic: Topic, broker: Broker, stopping: asyncio.Event, member: Consumer
) -> None:
    """As librdkafka's producers write them, and most foreign ones are built on it."""
    events = [event(f"order-{number}") for number in range(20)]
    await asyncio.to_thread(produce, broker.bootstrap_servers, topic.name, codec, [
        (sent.key, sent.payload, messages.headers(sent)) for sent in events
    ])  # fmt: skip
    async with running(member.run, stopping):
        await all_done(database, 20)
    assert sorted(await effects(database)) == sorted((sent.subject, 1) for sent in events)


def produce(servers: str, topic: str, codec: str, sent: list[tuple[bytes, bytes, Any]]) -> None:
    """In one batch."""
    foreign = confluent_kafka.Producer(
        {"bootstrap.servers": servers, "compression.type": codec, "linger.ms": 200, "message.timeout.ms": 10_000}
    )
    for key, value, headers in sent:
        cast(Any, foreign).produce(topic, key=key, value=value, headers=headers, partition=0)
    assert foreign.flush(10) == 0


async def test_a_record_without_a_timestamp_is_applied(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, member: Consumer
) -> None:
    """How long it was on Kafka nobody can say; that is no reason."""
    made = batch(event("a"))
    struct.pack_into(">qq", made, 27, -1, -1)
    await put(producer, topic, sealed(made))
    async with running(member.run, stopping):
        await all_done(database, 1)
