"""The topics: made once, left alone when they are there, and a clear word about what is wrong."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from chassis import dead_letters
from chassis.dead_letters import DeadLetters
from chassis.kafka import Producer
from chassis.redrive import DeadLetterTopic
from chassis.settings import ServiceSettings
from chassis.testing import eventually
from chassis.tests.containers import KafkaContainer
from chassis.tests.surroundings import settings_of_nowhere
from conftest import free_port
from infra.kafka.topics import DAY_MS, EVENTS, HOUR_MS, TopicSettings, TopicsFailed, ensure, wanted

ROOT = Path(__file__).resolve().parent.parent.parent.parent
# Kafka's default of message.max.bytes: 1 MiB, and 12 bytes of a batch's head.
BROKER_BYTES_MAX = 1_048_588


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaContainer]:
    broker = KafkaContainer()
    try:
        with broker.container:
            asyncio.run(asyncio.wait_for(broker.until_ready(), 60))
            yield broker
    finally:
        broker.close()


def settings(kafka: KafkaContainer, partitions: int = 6) -> TopicSettings:
    return TopicSettings.model_validate(
        {
            "kafka_bootstrap_servers": kafka.bootstrap_servers,
            "kafka_partitions": partitions,
            "kafka_replication_factor": 1,
            "kafka_wait_seconds": 10,
        }
    )


@pytest.mark.docker
async def test_what_is_missing_is_made_and_what_is_there_is_left(kafka: KafkaContainer) -> None:
    """A topic of events for each service and one for its dead letters; the second run changes nothing."""
    said: list[str] = []
    await ensure(settings(kafka), said.append)
    assert said[:2] == ["order.events: 6 partitions, made", "order.events.dead: 1 partitions, made"]
    assert len(said) == 2 * len(EVENTS)
    said.clear()
    await ensure(settings(kafka), said.append)
    assert [line for line in said if not line.endswith("as it was")] == []


@pytest.mark.docker
async def test_two_at_the_same_moment_agree(kafka: KafkaContainer) -> None:
    """Whoever comes second finds the topic made, and does not mind."""
    await asyncio.gather(*(ensure(settings(kafka), lambda _: None) for _ in range(3)))


async def change(kafka: KafkaContainer, *changes: ConfigResource) -> None:
    """Give topics another configuration. The broker answers before it tells of it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.alter_configs(list(changes))
    finally:
        await admin.close()


async def configurations(kafka: KafkaContainer) -> dict[str, dict[str, str]]:
    """What each topic has, as the broker says."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        names = [name for topic in EVENTS for name in (topic, topic + dead_letters.SUFFIX)]
        answers: list[Any] = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        )
    finally:
        await admin.close()
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for answer in answers
        for _error, _message, _kind, name, entries in answer.resources
    }


def check_that_the_inbox_remembers_longer(kept: dict[str, dict[str, str]]) -> None:
    """Of each topic the first message of a segment, alive and then dead, comes again before its row is forgotten."""
    remembered = ServiceSettings.model_fields["retention_seconds"].default * 1000
    for topic in EVENTS:
        alive, dead = (
            int(kept[name]["retention.ms"]) + int(kept[name]["segment.ms"])
            for name in (topic, topic + dead_letters.SUFFIX)
        )
        assert alive + 15 * 60_000 < remembered
        assert dead + alive < remembered


@pytest.mark.docker
async def test_kafka_forgets_before_the_inbox_does(kafka: KafkaContainer) -> None:
    """A message that is delivered again finds its inbox row, however late it comes, from among the dead too."""
    await ensure(settings(kafka), lambda _: None)
    check_that_the_inbox_remembers_longer(await configurations(kafka))


def test_the_topics_that_are_made_forget_before_the_inbox_does() -> None:
    """The same of what is asked of a broker, by the settings that hold unless told."""
    made = wanted(TopicSettings.model_validate({}))
    assert {topic.name for topic in made} == {f"{topic}{end}" for topic in EVENTS for end in ("", dead_letters.SUFFIX)}
    check_that_the_inbox_remembers_longer({topic.name: topic.topic_configs for topic in made})


@pytest.mark.docker
async def test_a_topic_of_an_earlier_version_is_given_what_it_lacks(kafka: KafkaContainer) -> None:
    """Its segments took messages for a week; what somebody else gave it, it keeps."""
    await ensure(settings(kafka), lambda _: None)
    earlier = {"retention.ms": str(3 * DAY_MS), "compression.type": "gzip"}
    dead = {"retention.ms": str(30 * DAY_MS), "max.message.bytes": "1000"}
    await change(
        kafka,
        ConfigResource(ConfigResourceType.TOPIC, "order.events", earlier),
        ConfigResource(ConfigResourceType.TOPIC, "payment.events.dead", dead),
    )

    async def is_told(segment_ms: int, dead_bytes: int) -> bool:
        told = await configurations(kafka)
        return (int(told["order.events"]["segment.ms"]), int(told["payment.events.dead"]["max.message.bytes"])) == (
            segment_ms,
            dead_bytes,
        )

    await eventually(lambda: is_told(7 * DAY_MS, 1000))
    said: list[str] = []
    await ensure(settings(kafka), said.append)
    assert said[0] == "order.events: 6 partitions, changed: segment.ms 604800000 → 21600000"
    assert [line.partition(",")[2][:8] for line in said].count(" changed") == 2
    await eventually(lambda: is_told(6 * HOUR_MS, dead_letters.MESSAGE_BYTES_MAX))
    after = await configurations(kafka)
    check_that_the_inbox_remembers_longer(after)
    assert after["order.events"]["compression.type"] == "gzip"
    assert after["payment.events.dead"]["max.message.bytes"] == str(dead_letters.MESSAGE_BYTES_MAX)
    said.clear()
    await ensure(settings(kafka), said.append)
    assert [line for line in said if not line.endswith("as it was")] == []
    await change(kafka, ConfigResource(ConfigResourceType.TOPIC, "order.events", {}))


@pytest.mark.parametrize(
    "kept",
    [
        {"KAFKA_RETENTION_DAYS": "9.8"},
        {"KAFKA_DEAD_RETENTION_DAYS": "6.6"},
        {"KAFKA_SEGMENT_HOURS": "12"},
        {"RETENTION_SECONDS": "604800"},
    ],
)
def test_settings_by_which_a_message_outlives_the_inbox_are_refused(kept: dict[str, str]) -> None:
    """Whichever of them it is; nothing is asked of the broker."""
    done = command(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", **kept)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("topics: setting RETENTION_SECONDS: Value error, a message may come again after ")
    assert done.stderr.count("\n") == 1


@pytest.mark.docker
async def test_the_largest_message_of_a_topic_finds_room_among_its_dead_letters(kafka: KafkaContainer) -> None:
    """A little larger when it is dead, it does not block its partition for ever; and it finds its way back."""
    await ensure(settings(kafka), lambda _: None)
    # With record, batch and key it is as large as a broker takes unless told otherwise.
    largest = b"x" * (BROKER_BYTES_MAX - 100)
    async with poison(kafka, largest) as record:
        cemetery = DeadLetters(producer(kafka), asyncio.Event())
        async with asyncio.timeout(10):
            await cemetery.bury(record, "a.group", "because " * 200)
        await cemetery.close()
    async with DeadLetterTopic(kafka.bootstrap_servers, "order.events") as dead:
        assert await dead.redrive() == 1


@asynccontextmanager
async def poison(kafka: KafkaContainer, value: bytes) -> AsyncGenerator[ConsumerRecord[bytes, bytes]]:
    """A message as its consumer gets it."""
    consumer = AIOKafkaConsumer(
        "order.events",
        bootstrap_servers=kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    async with consumer, producer(kafka) as sender:
        await sender.send_and_wait("order.events", value, key=b"a")
        yield await consumer.getone()


def producer(kafka: KafkaContainer) -> Producer:
    settings = settings_of_nowhere().model_copy(update={"kafka_bootstrap_servers": kafka.bootstrap_servers})
    return dead_letters.producer(settings, "a.group")


@pytest.mark.docker
async def test_another_number_of_partitions_is_named(kafka: KafkaContainer) -> None:
    """To change it would break the order of keys, so a person has to decide; the words say between what."""
    await ensure(settings(kafka), lambda _: None)
    with pytest.raises(TopicsFailed, match=r"order\.events has 6 partitions, wanted are 8; .* set KAFKA_PARTITIONS=6"):
        await ensure(settings(kafka, partitions=8), lambda _: None)


def command(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.kafka"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ".:protos/generated", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_broker_that_does_not_answer_is_waited_for_and_named() -> None:
    """It says that it waits, then where and for how long it has waited, in one line, and ends with an error."""
    where = f"127.0.0.1:{free_port()}"
    done = command(KAFKA_BOOTSTRAP_SERVERS=where, KAFKA_WAIT_SECONDS="1")
    assert done.returncode == 1
    assert done.stdout == f"waiting for Kafka at {where}\n"
    assert done.stderr.startswith(f"topics: no answer from Kafka at {where} within 1 s")
    assert done.stderr.count("\n") == 1


def test_a_wrong_setting_is_named() -> None:
    """One line with its name, and the exit code of a wrong call."""
    done = command(KAFKA_PARTITIONS="none")
    assert done.returncode == 2
    assert done.stderr.startswith("topics: setting KAFKA_PARTITIONS: ")
    assert done.stderr.count("\n") == 1
