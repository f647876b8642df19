"""Sends the messages of dead letters back, one after the other; what a topic does not take is passed over, in time.

dead letter ─ without the headers of its death, `redriven: n` ─▶ its topic
     └ link ─ span `redrive`, a trace of its own
"""

import asyncio
import re
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from chassis import logs, telemetry, trace_headers
from chassis.dead_letters import MESSAGE_BYTES_MAX, SUFFIX, original
from chassis.onlooker import Onlooker, Record
from chassis.source import code

log = logs.get(__name__)

# How often the message was sent back, this time included. Its name says nothing of a death, for a burial takes those
# headers away.
REDRIVEN = "redriven"
TIMES_MAX = 1_000_000
SEND_SECONDS_MAX = 5.0

Headers = list[tuple[str, bytes]]

_TIMES = re.compile(rb"[0-9]{1,7}")


class Sender:
    """`async with Sender("127.0.0.1:9092", onlooker) as sender: why_not = await sender.send(letter)`

    A partition that has no leader costs its time once, however many letters are for it.

    Entering it raises KafkaError where no broker answers.
    """

    def __init__(self, bootstrap_servers: str, onlooker: Onlooker) -> None:
        self._onlooker = onlooker
        # Not idempotent: what is given up would leave a gap in the numbering, which refuses all that comes later.
        self._make = lambda: AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            acks="all",
            max_request_size=MESSAGE_BYTES_MAX,
            request_timeout_ms=int(1000 * SEND_SECONDS_MAX),
        )
        self._refusing: dict[tuple[str, int | None], str] = {}

    async def __aenter__(self) -> Self:
        self._client = self._make()
        try:
            await self._client.start()
        except BaseException:
            await self._client.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.stop()

    async def send(self, letter: Record) -> str:
        """Send the letter's message back; returns why not, if the topic does not take it.

        Raises:
            KafkaError: no broker answers.
        """
        headers = again(letter)
        span = _span(letter, headers)
        why = ""
        try:
            why = await self._sent(letter, headers)
        except BaseException as error:
            telemetry.fail(span, error)
            raise
        finally:
            if why:
                telemetry.fail(span, Refused(why))
            span.end()
        return why

    async def _sent(self, letter: Record, headers: Headers) -> str:
        topic, partition = letter.topic.removesuffix(SUFFIX), None
        if why := self._refusing.get((topic, None)):
            return why
        try:
            async with asyncio.timeout(2 * SEND_SECONDS_MAX):
                partition = await self._partition(topic, letter.key)
                if why := self._refusing.get((topic, partition)):
                    return why
                await self._send(letter, topic, partition, headers)
        except (KafkaError, TimeoutError) as error:
            why = f"{topic} does not take it: {_said(error)}"
            # Where no broker answers, this raises.
            topics = await self._onlooker.topics()
            if topic not in topics:
                self._refusing[topic, None] = why = f"{topic} does not exist"
            elif isinstance(error, TimeoutError) or error.retriable:
                # The library tried it again for as long as it may: it is no fault of this message.
                self._refusing[topic, partition] = why = f"partition {partition} of {why}"
            log.warning("a dead letter is passed over", topic=topic, offset=letter.offset, reason=why)
            return why
        return ""

    async def _send(self, letter: Record, topic: str, partition: int, headers: Headers) -> None:
        try:
            await self._client.send_and_wait(topic, letter.value, letter.key, partition, headers=headers)
        except MessageSizeTooLargeError:
            # It may have been as large as the topic takes, before it was counted.
            before = original(letter.headers)
            await self._client.send_and_wait(topic, letter.value, letter.key, partition, headers=before)

    async def _partition(self, topic: str, key: bytes | None) -> int:
        """Where the message belongs: chosen here as the library chooses it, so that it can be told and remembered."""
        partitions = sorted(await self._client.partitions_for(topic))
        return DefaultPartitioner()(key, partitions, partitions)


class Refused(Exception):
    """The topic did not take the message."""


def again(letter: Record) -> Headers:
    """The headers that the message had before it died, and how often it was sent back."""
    kept = original(letter.headers)
    times = max((_times(value) for name, value in kept if name == REDRIVEN), default=0)
    others = [(name, value) for name, value in kept if name != REDRIVEN]
    return [*others, (REDRIVEN, str(min(times + 1, TIMES_MAX)).encode())]


def _times(value: bytes | None) -> int:
    # Anybody may have written it.
    return int(value) if value and _TIMES.fullmatch(value) else 0


def _said(error: Exception) -> str:
    return type(error).__name__.removesuffix("Error")


def _span(letter: Record, headers: Headers) -> Span:
    """A trace of its own, that links to the one the message died in: it may be long over."""
    said = dict(headers)
    trace = trace_headers.read(said.get("traceparent") or b"", said.get("tracestate") or b"")
    subject = (said.get("ce_subject") or b"").decode(errors="replace")[:100]
    topic = letter.topic.removesuffix(SUFFIX)
    return telemetry.start_span(
        f"redrive {topic}",
        SpanKind.PRODUCER,
        {
            "messaging.system": "kafka",
            "messaging.destination.name": topic,
            "messaging.operation.name": "redrive",
            "messaging.operation.type": "send",
            "messaging.message.id": (said.get("ce_id") or b"").decode(errors="replace")[:100],
            "shop.redriven": int(said[REDRIVEN]),
            **({telemetry.ORDER_ID: subject} if subject else {}),
            **code(Sender.send),
        },
        Context(),
        telemetry.link(trace),
    )
