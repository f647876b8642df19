"""The shop's topics: which there are, how many partitions each has, how long it keeps messages."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.dead_letters import MESSAGE_BYTES_MAX, SUFFIX

EVENTS = ("order.events", "payment.events", "inventory.events")
RETRY_SECONDS = 0.5
DAY_MS = 86_400_000


class TopicsFailed(Exception):
    """The topics are not as the services need them; the message says which, and what to do."""


class TopicSettings(BaseSettings):
    """Where the broker is and what its topics are to be."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", frozen=True)

    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", description="host:port, comma-separated.")
    kafka_partitions: int = Field(
        6, ge=1, le=1000, description="Of each topic of events: the most replicas of a service that share its work."
    )
    kafka_replication_factor: int = Field(1, ge=1, le=9, description="How many brokers hold each partition.")
    kafka_retention_days: float = Field(
        3, gt=0, description="How long messages are kept: shorter than a service's RETENTION_SECONDS keeps its inbox."
    )
    kafka_dead_retention_days: float = Field(
        6, gt=0, description="How long dead letters are kept: longer than people are away, shorter than the inbox."
    )
    kafka_wait_seconds: float = Field(60, gt=0, description="Patience for a broker that does not answer.")


def wanted(settings: TopicSettings) -> list[NewTopic]:
    """A topic of events for each service, and for each of these one for its dead letters."""
    kept = {"retention.ms": str(round(settings.kafka_retention_days * DAY_MS))}
    dead = {
        "retention.ms": str(round(settings.kafka_dead_retention_days * DAY_MS)),
        # Each is a little larger than it was alive.
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
    }
    return [
        NewTopic(name, partitions, settings.kafka_replication_factor, topic_configs=configuration)
        for topic in EVENTS
        for name, partitions, configuration in (
            (topic, settings.kafka_partitions, kept),
            # Dead letters are few, and nobody handles them side by side.
            (topic + SUFFIX, 1, dead),
        )
    ]


async def ensure(settings: TopicSettings, say: Callable[[str], None]) -> None:
    """Make the topics that are missing; leave the others as they are. Safe to run again, and beside itself.

    Raises:
        TopicsFailed: the broker did not answer in time, refused, or has a topic with another number of partitions.
    """
    ends_at = time.monotonic() + settings.kafka_wait_seconds
    # The client logs each refused connection; what is worth saying is said here, once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    waits = False
    while True:
        try:
            await _ensure(settings, say)
        except (KafkaError, OSError) as error:
            where = settings.kafka_bootstrap_servers
            if time.monotonic() > ends_at:
                raise TopicsFailed(
                    f"no answer from Kafka at {where} within {settings.kafka_wait_seconds:g} s ({error!r}); "
                    "is it running, and is KAFKA_BOOTSTRAP_SERVERS right?"
                ) from error
            if not waits:
                say(f"waiting for Kafka at {where}")
            waits = True
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


async def _ensure(settings: TopicSettings, say: Callable[[str], None]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers, request_timeout_ms=5_000)
    try:
        await admin.start()
        topics = {topic.name: topic for topic in wanted(settings)}
        there = set(await admin.list_topics())
        missing = [topic for name, topic in topics.items() if name not in there]
        if missing:
            _check_created(await admin.create_topics(missing))
        found = {each["topic"]: each for each in await admin.describe_topics(list(topics))}
        for name, topic in topics.items():
            _check(topic, found[name])
            say(f"{name}: {topic.num_partitions} partitions, {'made' if topic in missing else 'as it was'}")
    finally:
        await admin.close()


def _check_created(answer: Any) -> None:
    for name, code, *message in answer.topic_errors:
        error = for_code(code)
        # Somebody else was faster: what they made is checked like any other.
        if code == 0 or error is TopicAlreadyExistsError:
            continue
        if getattr(error, "retriable", False):
            raise error(message)
        raise TopicsFailed(f"Kafka does not make {name}: {error.__name__} {' '.join(map(str, message))}".rstrip())


def _check(topic: NewTopic, found: dict[str, Any]) -> None:
    if found["error_code"]:
        # Just made, and not yet known to every broker: asked again.
        raise for_code(found["error_code"])(topic.name)
    partitions = len(found["partitions"])
    if partitions != topic.num_partitions:
        raise TopicsFailed(
            f"{topic.name} has {partitions} partitions, wanted are {topic.num_partitions}; to change it would move "
            f"keys and break their order: set KAFKA_PARTITIONS={partitions}, or run docker compose down --volumes"
        )
