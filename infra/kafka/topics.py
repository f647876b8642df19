"""The shop's topics: which there are, how many partitions each has, how long it keeps messages.

    heard ──▶ retention and a segment later gone from its topic
          └─▶ dead ──▶ its retention and a segment later gone from there too, unless redriven ──▶ heard again

Whatever comes again finds its row in the inbox: that is kept for longer than all of this takes.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.dead_letters import MESSAGE_BYTES_MAX, SUFFIX
from chassis.settings import ServiceSettings

EVENTS = ("order.events", "payment.events", "inventory.events")
RETRY_SECONDS = 0.5
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
# A broker looks every five minutes for what is too old, and removes its files a minute later; the rest is for clocks.
MARGIN_MS = 15 * 60_000
# A configuration that was given to the topic itself, and is not the broker's (Kafka's ConfigSource).
GIVEN_TO_TOPIC = 1


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
        3, gt=0, description="How long messages are kept, counted from the last one of their segment."
    )
    kafka_dead_retention_days: float = Field(
        6, gt=0, description="How long dead letters are kept, counted alike: longer than people are away."
    )
    kafka_segment_hours: float = Field(
        6, gt=0, description="How long a segment takes messages: its first is kept for so much longer than its last."
    )
    kafka_wait_seconds: float = Field(60, gt=0, description="Patience for a broker that does not answer.")
    retention_seconds: float = Field(
        ServiceSettings.model_fields["retention_seconds"].default,
        gt=0,
        validate_default=True,
        description="The services' setting of this name: how long their inboxes remember. More than both retentions"
        " and two segments together.",
    )

    @field_validator("retention_seconds")
    @classmethod
    def _outlives(cls, remembered: float, others: ValidationInfo) -> float:
        needed = {"kafka_retention_days", "kafka_dead_retention_days", "kafka_segment_hours"}
        # What is wrong with one of them is said already.
        if needed <= others.data.keys():
            longest = max(lives_ms(*(others.data[name] for name in sorted(needed))))
            if longest >= remembered * 1000:
                raise ValueError(
                    f"a message may come again after {longest / DAY_MS:.2f} days, and an inbox that remembers"
                    f" {remembered / 86_400:.2f} days would apply it twice: keep messages shorter, or inboxes longer"
                )
        return remembered


def lives_ms(dead_retention_days: float, retention_days: float, segment_hours: float) -> tuple[float, float]:
    """For how long after it was first heard a message may come again: from its topic, and from among the dead.

    `retention.ms` counts from a segment's last message, and a segment takes messages for `segment.ms`: its first one
    lives for both.
    """
    on_topic = retention_days * DAY_MS + segment_hours * HOUR_MS
    among_dead = dead_retention_days * DAY_MS + segment_hours * HOUR_MS
    return on_topic + MARGIN_MS, among_dead + on_topic


def wanted(settings: TopicSettings) -> list[NewTopic]:
    """A topic of events for each service, and for each of these one for its dead letters."""
    segment = {"segment.ms": str(round(settings.kafka_segment_hours * HOUR_MS))}
    kept = {"retention.ms": str(round(settings.kafka_retention_days * DAY_MS)), **segment}
    dead = {
        "retention.ms": str(round(settings.kafka_dead_retention_days * DAY_MS)),
        **segment,
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
    """Make the topics that are missing, and give the others the configuration that they lack, and none beside.

    Safe to run again, and beside itself.

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
        topics: dict[str, NewTopic] = {topic.name: topic for topic in wanted(settings)}
        there = set(await admin.list_topics())
        missing = [topic for name, topic in topics.items() if name not in there]
        if missing:
            _check_created(await admin.create_topics(missing))
        found = {each["topic"]: each for each in await admin.describe_topics(list(topics))}
        for name, topic in topics.items():
            _check(topic, found[name])
        changed = await _configure(admin, topics)
        for name, topic in topics.items():
            what = "made" if topic in missing else changed.get(name, "as it was")
            say(f"{name}: {topic.num_partitions} partitions, {what}")
    finally:
        await admin.close()


async def _configure(admin: AIOKafkaAdminClient, topics: Mapping[str, NewTopic]) -> dict[str, str]:
    """Set what is otherwise than wanted; returns what, by topic."""
    given: dict[str, dict[str, str]] = {}
    changed: dict[str, str] = {}
    answers: list[Any] = await admin.describe_configs([_resource(name) for name in topics])
    for code, message, _kind, name, entries in (each for answer in answers for each in answer.resources):
        _check_answer(code, f"Kafka does not tell the configuration of {name}", message)
        has, wanted = {entry[0]: entry for entry in entries}, topics[name].topic_configs
        if lacks := [f"{key} {has[key][1]} → {value}" for key, value in wanted.items() if has[key][1] != value]:
            # Alter means replace: what somebody else gave the topic has to be said again.
            others = {key: value for key, value, _, source, *_ in entries if source == GIVEN_TO_TOPIC}
            given[name], changed[name] = {**others, **wanted}, f"changed: {', '.join(lacks)}"
    if given:
        answers = await admin.alter_configs([_resource(name, configs) for name, configs in given.items()])
        for code, message, _kind, name in (each for answer in answers for each in answer.resources):
            _check_answer(code, f"Kafka does not configure {name}", message)
    return changed


def _resource(name: str, configs: Mapping[str, str] | None = None) -> ConfigResource:
    return ConfigResource(ConfigResourceType.TOPIC, name, configs)


def _check_created(answer: Any) -> None:
    for name, code, *message in answer.topic_errors:
        # Somebody else was faster: what they made is checked like any other.
        if for_code(code) is not TopicAlreadyExistsError:
            _check_answer(code, f"Kafka does not make {name}", *message)


def _check_answer(code: int, what: str, *message: Any) -> None:
    error = for_code(code)
    if code == 0:
        return
    if getattr(error, "retriable", False):
        raise error(message)
    raise TopicsFailed(f"{what}: {error.__name__} {' '.join(map(str, message))}".rstrip())


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
