"""Dead letter channel: where a message goes that can never be handled, so that the next one can.

inventory.events ─ poison ─▶ inventory.events.dead ─ redrive ─▶ inventory.events
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from chassis import kafka, logs, telemetry
from chassis.kafka import Producer
from chassis.settings import ServiceSettings

log = logs.get(__name__)

SUFFIX = ".dead"
PREFIX = "dead_"
# A broker takes messages of 1 MiB unless told otherwise. Whatever it took has to find room among the dead letters, and
# has a few headers more there: else it would block its partition for ever.
MESSAGE_BYTES_MAX = 2 * 2**20

_DEAD = telemetry.meter.create_counter("shop.dead_letters", description="Messages given up, by topic and group.")


def producer(settings: ServiceSettings, group: str) -> Producer:
    """What writes a group's dead letters."""
    return kafka.producer(settings, f"{group}.dead", message_bytes_max=MESSAGE_BYTES_MAX)


class DeadLetters:
    """Writes to the dead letter topics; connects when the first message dies."""

    def __init__(self, producer: Producer, stopping: asyncio.Event) -> None:
        self._producer, self._stopping, self._started = producer, stopping, False

    def count_from_zero(self, topics: Iterable[str], group: str) -> None:
        """Report from the start: a counter that begins with its first dead letter hides it from a rate."""
        for topic in topics:
            _DEAD.add(0, {"topic": topic, "group": group})

    async def bury(self, record: ConsumerRecord[bytes, bytes], group: str, reason: str) -> None:
        """Copy the record to its dead letter topic; returns once Kafka has it.

        Raises:
            Stopped: the process is to stop and the broker still does not answer; the offset must not be committed.
        """
        died = {
            "reason": reason[:1000],
            "topic": record.topic,
            "partition": str(record.partition),
            "offset": str(record.offset),
            "group": group,
            "time": datetime.now(UTC).isoformat(),
        }
        headers = [*original(record.headers), *((PREFIX + name, value.encode()) for name, value in died.items())]
        while True:
            try:
                if not self._started:
                    await self._producer.start()
                    self._started = True
                await self._producer.send_and_wait(record.topic + SUFFIX, record.value, key=record.key, headers=headers)
            except (KafkaError, OSError) as error:
                log.warning("a dead letter waits: the broker does not take it", topic=record.topic, error=repr(error))
                if await kafka.wait(self._stopping, 1.0):
                    raise kafka.Stopped from error
            else:
                break
        _DEAD.add(1, {"topic": record.topic, "group": group})
        log.warning("message is dead", **_about(record), group=group, reason=reason)

    async def close(self) -> None:
        await self._producer.stop()


def _about(record: ConsumerRecord[bytes, bytes]) -> dict[str, Any]:
    """Where the message was, the order and the trace that it belongs to: as far as it says so."""
    # A header may be null on Kafka.
    said = {name: value.decode(errors="replace") for name, value in record.headers if value}
    place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    trace_id = said.get("traceparent", "").split("-")[1:2]
    return {**place, "order_id": said.get("ce_subject", ""), **({"trace_id": trace_id[0]} if trace_id else {})}


def original(headers: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The headers that a message had before it died."""
    return [(name, value) for name, value in headers if not name.startswith(PREFIX)]
