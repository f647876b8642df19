"""Dead letter channel: where a message goes that can never be handled, so that the next one can.

inventory.events ─ poison ─▶ inventory.events.dead ─ redrive ─▶ inventory.events
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from chassis import kafka, letters, logs, telemetry
from chassis.kafka import Producer
from chassis.letters import PREFIX, Letter, original
from chassis.mending import Unreadable
from chassis.settings import ServiceSettings

__all__ = ["MESSAGE_BYTES_MAX", "PREFIX", "SUFFIX", "DeadLetters", "original", "producer"]

log = logs.get(__name__)

SUFFIX = ".dead"
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
        # Partitions bury side by side.
        self._starting = asyncio.Lock()

    def count_from_zero(self, topics: Iterable[str], group: str) -> None:
        """Report from the start: a counter that begins with its first dead letter hides it from a rate."""
        for topic in topics:
            _DEAD.add(0, {"topic": topic, "group": group})

    async def bury(self, record: ConsumerRecord[bytes, bytes] | Unreadable, group: str, reason: str) -> None:
        """Copy the record to its dead letter topic, or what fits of it; returns once Kafka has it.

        Raises:
            Stopped: the process is to stop and the broker still does not answer; the offset must not be committed.
        """
        versions = letters.versions(record, group, reason)
        letter = next(versions)
        while True:
            try:
                await self._send(record.topic + SUFFIX, letter)
            except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
                # What is refused for its size is refused again; the smallest may wait for a topic with more room.
                letter = next(versions, letter)
                if letter.is_smallest and await self._wait(record.topic, error):
                    raise kafka.Stopped from error
            except (KafkaError, OSError) as error:
                if await self._wait(record.topic, error):
                    raise kafka.Stopped from error
            else:
                break
        _DEAD.add(1, {"topic": record.topic, "group": group})
        log.warning("message is dead", **_about(record), group=group, reason=reason)

    async def _send(self, topic: str, letter: Letter) -> None:
        async with self._starting:
            if not self._started:
                await self._producer.start()
                self._started = True
        await self._producer.send_and_wait(topic, letter.value, key=letter.key, headers=letter.headers)

    async def _wait(self, topic: str, error: Exception) -> bool:
        """Before the next try; whether the process is to stop."""
        log.warning("a dead letter waits: the broker does not take it", topic=topic, error=repr(error))
        return await kafka.wait(self._stopping, 1.0)

    async def close(self) -> None:
        """Leave at once: what was not answered comes again, and is buried then."""
        if self._started:
            self._producer.give_up()
        await self._producer.stop()


def _about(record: ConsumerRecord[bytes, bytes] | Unreadable) -> dict[str, Any]:
    """Where the message was, the order and the trace that it belongs to: as far as it says so."""
    place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    if isinstance(record, Unreadable):
        return {**place, "first_offset": record.first_offset, "bytes": len(record.raw)}
    # A header may be null on Kafka.
    said = {name: value.decode(errors="replace") for name, value in record.headers if value}
    trace_id = said.get("traceparent", "").split("-")[1:2]
    return {**place, "order_id": said.get("ce_subject", ""), **({"trace_id": trace_id[0]} if trace_id else {})}
