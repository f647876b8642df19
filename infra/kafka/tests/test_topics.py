"""The topics: made once, left alone when they are there, and a clear word about what is wrong."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from chassis.settings import ServiceSettings
from chassis.tests.containers import KafkaContainer
from conftest import free_port
from infra.kafka.topics import DAY_MS, EVENTS, TopicSettings, TopicsFailed, ensure

ROOT = Path(__file__).resolve().parent.parent.parent.parent


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
    return TopicSettings(
        kafka_bootstrap_servers=kafka.bootstrap_servers,
        kafka_partitions=partitions,
        kafka_replication_factor=1,
        kafka_retention_days=3,
        kafka_wait_seconds=10,
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


@pytest.mark.docker
async def test_kafka_forgets_before_the_inbox_does(kafka: KafkaContainer) -> None:
    """A message that is delivered again finds its inbox row, however late it comes."""
    await ensure(settings(kafka), lambda _: None)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, "order.events")
        answers: list[Any] = await admin.describe_configs([resource])
    finally:
        await admin.close()
    found = {entry[0]: entry[1] for entry in answers[0].resources[0][4]}
    assert int(found["retention.ms"]) == 3 * DAY_MS
    assert ServiceSettings.model_fields["retention_seconds"].default > 3 * DAY_MS / 1000


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
