"""Burying: whatever a message is like and whatever the dead letter topic does, no other message waits for it."""

import asyncio
import gzip
import hashlib
import time

import pytest

from chassis.database import Database
from chassis.kafka import Producer
from chassis.redrive import DeadLetterTopic
from chassis.settings import ServiceSettings
from chassis.testing import eventually, figure
from chassis.tests.foreign_batches import HEADER_BYTES, batch, compressed, number, put, record, sealed
from chassis.tests.group import Group
from chassis.tests.surroundings import Leaderless, Topic, all_done, effects, event, header, running

# What the real broker adds is in `test_foreign_producers`.
pytestmark = pytest.mark.parametrize("containers", ["embedded"], indirect=True)

PARTITIONS = range(4)


@pytest.fixture
def group(database: Database, settings: ServiceSettings, topic: Topic, stopping: asyncio.Event) -> Group:
    return Group(database, settings, topic, stopping)


def one(content: bytes) -> bytes:
    return sealed(batch(event("x"))[:HEADER_BYTES] + record(content))


NULL = number(-1)


@pytest.mark.parametrize(
    ("key", "value", "nothing"),
    [(NULL, NULL, "key, value"), (number(1) + b"a", NULL, ""), (NULL, number(0), "")],
    ids=["key and value", "value", "key"],
)
async def test_a_record_of_nulls_is_buried(
    key: bytes,
    value: bytes,
    nothing: str,
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    settings: ServiceSettings,
) -> None:
    """With neither key nor value the library sends nothing: a header says what the empty value stands for."""
    await put(producer, topic, one(b"\0\0\0" + key + value + number(0)))
    await put(producer, topic, bytes(batch(event("after"))))
    async with running(group.member().run, stopping):
        await all_done(database, 1)
        await eventually(topic.dead.records)
    [dead] = await topic.dead.records()
    assert dict(dead.headers).get("dead_null", b"").decode() == nothing
    assert (dead.key, dead.value or None) == (b"a" if key != NULL else None, None)
    async with DeadLetterTopic(settings.kafka_bootstrap_servers, topic.name) as letters:
        assert await letters.redrive() == (0 if nothing else 1)


@pytest.mark.parametrize("part", ["value", "key", "headers"])
async def test_what_is_too_large_is_buried_as_far_as_it_fits(
    part: str, database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """A few kB as gzip, beyond every topic's limit unfolded: its first bytes, and a hash of all."""
    large = bytes(range(256)) * 3 * 4096
    key, value, headers = b"a", b"", number(1) + number(8) + b"ce_other" + number(1) + b"x"
    match part:
        case "value":
            value = large
        case "key":
            key = large
        case _:
            headers = number(2) + headers[1:] + number(5) + b"large" + number(len(large)) + large
    content = b"\0\0\0" + number(len(key)) + key + number(len(value)) + value + headers
    raw = compressed(batch(event("x")), 1, gzip.compress(record(content)))
    assert len(raw) < 100_000
    await put(producer, topic, raw)
    await put(producer, topic, bytes(batch(event("after"))))
    async with running(group.member().run, stopping):
        await all_done(database, 1)
        await eventually(topic.dead.records)
    [dead] = await topic.dead.records()
    assert header(dead, "dead_cut")
    assert header(dead, "dead_value_sha256") == hashlib.sha256(value).hexdigest()
    assert value.startswith(dead.value or b"")
    assert (dead.value != b"") == (part == "value")
    assert dead.key == (None if part == "key" else b"a")
    # The small header has found room, the large one has not.
    assert ("ce_other", b"x") in dead.headers and "large" not in dict(dead.headers)


async def test_only_the_partition_waits_whose_dead_letters_nobody_takes(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    broker: Leaderless,
) -> None:
    """Without a leader for the dead letters: the other partitions go on, and what is dead is not passed."""
    await producer.client.partitions_for(topic.dead.name)
    for partition in PARTITIONS:
        broker.take_leader(topic.dead.name, partition)
    member = group.member()
    try:
        async with running(member.run, stopping):
            offset = await put(producer, topic, one(b"\0\0\0\x01\x01\0"), partition=0)
            await put(producer, topic, bytes(batch(event("beside"))), partition=1)
            await all_done(database, 1)
            for number in range(20):
                await put(producer, topic, bytes(batch(event(f"order-{number}"))), partition=1 + number % 3)
            async with asyncio.timeout(5):
                await all_done(database, 21)
            await put(producer, topic, bytes(batch(event("behind"))), partition=0)
            await member.commit()
            assert await group.committed() == offset + 21
            # What comes meanwhile is known once the partition is read on.
            assert figure("shop.consumer.lag", topic=topic.name) == 1
            for partition in PARTITIONS:
                broker.give_leader(topic.dead.name, partition)
            await eventually(topic.dead.records, seconds_max=20)
            await eventually(lambda: has(database, "behind"))
    finally:
        for partition in PARTITIONS:
            broker.give_leader(topic.dead.name, partition)
    assert await group.committed() == 23


async def has(database: Database, subject: str) -> bool:
    return (subject, 1) in await effects(database)


async def test_partitions_move_at_once_although_dead_letters_wait(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    broker: Leaderless,
    settings: ServiceSettings,
) -> None:
    """A rebalance waits for no broker; what was not buried comes again where the partition goes."""
    await producer.client.partitions_for(topic.dead.name)
    for partition in PARTITIONS:
        broker.take_leader(topic.dead.name, partition)
    member = group.member()
    try:
        async with running(member.run, stopping):
            await put(producer, topic, one(b"\0\0\0\x01\x01\0"))
            await put(producer, topic, bytes(batch(event("beside"))), partition=1)
            await all_done(database, 1)
            began = time.monotonic()
            await member.settle()
            assert time.monotonic() - began < 2.0
    finally:
        for partition in PARTITIONS:
            broker.give_leader(topic.dead.name, partition)
    again = asyncio.Event()
    async with running(Group(database, settings, topic, again).member().run, again):
        await eventually(topic.dead.records, seconds_max=20)


async def test_a_long_header_s_name_and_a_null_header_are_no_trouble(
    database: Database, topic: Topic, producer: Producer, stopping: asyncio.Event, group: Group
) -> None:
    """Whatever headers a message has, it is buried with them."""
    raw = batch(event("x"), headers=[("n" * 5_000, b""), ("ce_null", None), ("ce_specversion", b"2.0")])
    await put(producer, topic, bytes(raw))
    async with running(group.member().run, stopping):
        await eventually(topic.dead.records)
    [dead] = await topic.dead.records()
    assert ("ce_null", None) in dead.headers and ("n" * 5_000, b"") in dead.headers
