"""Sends the events of one round side by side; what rests is left out, so that it holds up nobody else.

A partition rests that does not answer while others do, and an aggregate whose event Kafka refuses. On trial a partition
gets one event, and little time.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from opentelemetry.trace import Span

from chassis import logs, message_spans, messages, telemetry
from chassis.database import Row
from chassis.kafka import Producer
from chassis.messages import Envelope
from chassis.resting import Resting
from chassis.telemetry import TraceContext

log = logs.get(__name__)

# How long a partition on trial may take to answer.
TRIAL_SECONDS_MAX = 0.5
# How long the client may take a message into its hands: it has room for little more than a batch of a partition.
TAKE_SECONDS_MAX = 0.5
# How often a round that waits for answers looks whether a partition has lost its leader, and will not answer.
LOOK_SECONDS = 0.5

_AGE = telemetry.meter.create_histogram(
    "shop.outbox.age", unit="s", description="How long events waited in the outbox before Kafka had them."
)
_PUBLISHED = telemetry.meter.create_counter("shop.outbox.published", description="Events that Kafka acknowledged.")

# Topic and partition; -1 while the topic is unknown.
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Sending:
    """One event of a round, between send and acknowledgement."""

    envelope: Envelope
    span: Span
    timestamp_ms: int
    acknowledged: asyncio.Future[Any]
    place: Place
    was_refused: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a round.

    Attributes:
        sent: the ids that Kafka acknowledged in time.
        unanswered: how many events it may have or not; they are sent again.
        is_outage: whether nothing was acknowledged, of partitions that were thought well.
    """

    sent: Sequence[UUID]
    unanswered: int
    is_outage: bool


class Sender:
    """Sends the rows of one service's outbox, and remembers what rests."""

    def __init__(self, producer: Producer, source: str, sender: Any) -> None:
        self._producer, self._source, self._sender = producer, source, sender
        self.resting = Resting()

    async def choose(self, rows: Sequence[Row]) -> list[tuple[Row, Place]]:
        """The rows that are to be sent now, each with its partition."""
        chosen: list[tuple[Row, Place]] = []
        on_trial: set[Place] = set()
        has_looked = False
        for row in rows:
            if self.resting.rests((row.topic, row.subject)):
                continue
            place = await self._place(row)
            if place in on_trial or self.resting.rests(place):
                continue
            if not self._producer.has_leader(*place):
                if not has_looked:
                    has_looked = True
                    await self._producer.look_for_leaders(TRIAL_SECONDS_MAX)
                if not self._producer.has_leader(*place):
                    self._fail(place)
                    continue
            if self.resting.is_on_trial(place):
                on_trial.add(place)
            chosen.append((row, place))
        return chosen

    async def _place(self, row: Row) -> Place:
        unknown = (row.topic, -1)
        if self.resting.rests(unknown):
            return unknown
        try:
            return row.topic, await self._producer.partition(row.topic, row.subject.encode())
        except KafkaError:
            return unknown

    async def send(self, chosen: Sequence[tuple[Row, Place]], ends_at: float) -> Outcome:
        """Send the rows side by side.

        No answer means unknown, not failed: the row stays unmarked and is sent again under the same id.
        """
        trials = {place for _, place in chosen if self.resting.is_on_trial(place)}
        sendings: list[Sending] = []
        stalled: set[Place] = set()
        for row, place in chosen:
            if place in stalled:
                continue
            sending = await self._begin(row, place, ends_at)
            sendings.append(sending)
            if sending.acknowledged.done() and not sending.was_refused and sending.acknowledged.exception():
                # It has no room: the next one would wait as long, and all that come after it too.
                stalled.add(place)
        await self._answers([each for each in sendings if each.place not in trials], ends_at)
        now = asyncio.get_running_loop().time()
        await self._answers([each for each in sendings if each.place in trials], min(ends_at, now + TRIAL_SECONDS_MAX))
        sent = [sending for sending in sendings if _end(sending)]
        _PUBLISHED.add(len(sent))
        return self._judge(sendings, sent, trials)

    def _judge(self, sendings: Sequence[Sending], sent: Collection[Sending], trials: Collection[Place]) -> Outcome:
        """Let rest what did not answer while others did; where nobody did, the broker is away."""
        refused = [sending for sending in sendings if sending.was_refused]
        answered = {sending.place for sending in sent}
        ids = {sending.envelope.id for sending in sent}
        unanswered = [each for each in sendings if each.envelope.id not in ids and not each.was_refused]
        silent = {sending.place for sending in unanswered}
        for sending in refused:
            self._fail((sending.place[0], sending.envelope.subject), sending.acknowledged.exception())
        is_outage = not answered and not silent <= {*trials, *self._leaderless(silent)}
        if not is_outage:
            for place in silent:
                self._fail(place)
            for place in answered - silent:
                if self.resting.answer(place):
                    log.info("events flow again", topic=place[0], partition=place[1])
        return Outcome([sending.envelope.id for sending in sent], len(unanswered), is_outage)

    def _leaderless(self, places: Collection[Place]) -> set[Place]:
        return {place for place in places if not self._producer.has_leader(*place)}

    def _fail(self, who: tuple[str, int | str], error: BaseException | None = None) -> None:
        if self.resting.fail(who):
            where = {"partition": who[1]} if isinstance(who[1], int) else {"order_id": who[1]}
            why = repr(error) if error else "no answer"
            log.warning("events wait in the outbox, others go on", topic=who[0], **where, error=why)

    async def _answers(self, sendings: Sequence[Sending], ends_at: float) -> None:
        """Wait for the acknowledgements, but not for those of a partition that has no leader any more."""
        pending = {sending.acknowledged: sending.place for sending in sendings if not sending.acknowledged.done()}
        while pending and (seconds := ends_at - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(pending, timeout=min(seconds, LOOK_SECONDS))
            leaderless = self._leaderless(set(pending.values()))
            pending = {one: place for one, place in pending.items() if not one.done() and place not in leaderless}

    async def _begin(self, row: Row, place: Place, ends_at: float) -> Sending:
        created = TraceContext(row.traceparent, row.tracestate)
        envelope = Envelope(
            row.id, row.type, self._source, row.subject, row.created_at, row.sequence, created, row.payload
        )
        span, timestamp_ms = message_spans.send(row.topic, envelope, self._sender), time.time_ns() // 1_000_000
        loop, was_refused = asyncio.get_running_loop(), False
        try:
            async with asyncio.timeout_at(min(ends_at, loop.time() + TAKE_SECONDS_MAX)):
                # A time that is over already is noticed here, before the message is taken.
                await asyncio.sleep(0)
                sent = messages.headers(envelope)
                acknowledged = asyncio.ensure_future(
                    await self._producer.send(row.topic, row.payload, envelope.key, sent, timestamp_ms, place[1])
                )
        except (KafkaError, TimeoutError) as error:
            acknowledged = loop.create_future()
            acknowledged.set_exception(error)
            was_refused = isinstance(error, MessageSizeTooLargeError)
        # An answer that comes after the round has ended is nobody's any more; asyncio would complain about its error.
        acknowledged.add_done_callback(_look_at)
        return Sending(envelope, span, timestamp_ms, acknowledged, place, was_refused)


def _end(sending: Sending) -> bool:
    """End the event's span by what the broker said; whether it has the event."""
    span, acknowledged = sending.span, sending.acknowledged
    error = acknowledged.exception() if acknowledged.done() else TimeoutError("no acknowledgement in time")
    if error:
        telemetry.fail(span, error)
    else:
        _AGE.record(message_spans.sent(span, sending.envelope, acknowledged.result(), sending.timestamp_ms))
    span.end()
    return error is None


def _look_at(ended: asyncio.Future[Any]) -> None:
    if not ended.cancelled():
        ended.exception()
