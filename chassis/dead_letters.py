"""Dead letter channel: where a message goes that can never be handled, so that the next one can; and the way back.

inventory.events ─ poison ─▶ inventory.events.dead ─ redrive, under the same event id ─▶ inventory.events
"""

import argparse
import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
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
        headers = [*_original(record.headers), *((PREFIX + name, value.encode()) for name, value in died.items())]
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


def _original(headers: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(name, value) for name, value in headers if not name.startswith(PREFIX)]


async def redrive(bootstrap_servers: str, topic: str, *, idle_seconds: float = 3.0) -> int:
    """Send the dead letters of `topic` back to it, with the headers they first had; returns how many.

    Groups that have handled a message know it by its id and pass over it. A message that died in several groups is sent
    once, for each would bury each copy again. What dies meanwhile is left for the next time. Ends early when nothing
    came for `idle_seconds`.
    """
    source = AIOKafkaConsumer(
        topic + SUFFIX,
        bootstrap_servers=bootstrap_servers,
        group_id=f"{topic}{SUFFIX}.redrive",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    target = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        max_request_size=MESSAGE_BYTES_MAX,
    )
    sent: set[tuple[str, str]] = set()
    await source.start()
    try:
        await target.start()
        try:
            # A message that still cannot be handled comes back here; without an end it would go round for ever.
            ends = await source.end_offsets(source.assignment())
            while any([await source.position(partition) < end for partition, end in ends.items()]):
                batches = await source.getmany(timeout_ms=int(idle_seconds * 1000), max_records=100)
                if not batches:
                    break
                for partition, records in batches.items():
                    for record in records:
                        if record.offset < ends[partition]:
                            if (first := _died_as(record)) not in sent:
                                headers = _original(record.headers)
                                await target.send_and_wait(topic, record.value, key=record.key, headers=headers)
                                sent.add(first)
                            await source.commit({partition: record.offset + 1})
        finally:
            await target.stop()
    finally:
        await source.stop()
    return len(sent)


def _died_as(record: ConsumerRecord[bytes, bytes]) -> tuple[str, str]:
    """Partition and offset that the message had when it died, the same in every group."""
    died = {name: value.decode() for name, value in record.headers if name.startswith(PREFIX)}
    # What somebody else put there is like no other.
    return died.get(PREFIX + "partition", "another"), died.get(PREFIX + "offset", str(record.offset))


def main() -> None:
    """`python -m chassis.dead_letters redrive TOPIC`."""
    parser = argparse.ArgumentParser(prog="python -m chassis.dead_letters", description=redrive.__doc__)
    parser.add_argument("action", choices=["redrive"])
    parser.add_argument("topic", help="the original topic, such as inventory.events")
    parser.add_argument("--bootstrap-servers", default="127.0.0.1:9092", help="host:port (default: %(default)s)")
    arguments = parser.parse_args()
    sent = asyncio.run(redrive(arguments.bootstrap_servers, arguments.topic))
    print(f"{sent} dead letters sent back to {arguments.topic}")  # noqa: T201 - the answer of a command


if __name__ == "__main__":
    main()
