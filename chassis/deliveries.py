"""Applies messages in one transaction: the inbox notes them, the handlers work, and each has its `process` span."""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from aiokafka import TopicPartition
from google.protobuf.message import Message
from opentelemetry.trace import Link, Span

from chassis import inbox, message_spans, messages, telemetry
from chassis.database import Database, Limits, Transaction
from chassis.fetching import Record, Taken
from chassis.messages import Envelope
from chassis.router import Handler, Subscription

# What a message needs in memory beside its payload, which it holds as bytes and decoded: measured, and rounded up.
MESSAGE_BYTES = 3_000

_HANDLED = telemetry.meter.create_counter(
    "shop.inbox.messages", description="Messages that a group applied or knew already."
)
_AGE = telemetry.meter.create_histogram(
    "shop.kafka.age", unit="s", description="How long messages were on Kafka before a group took them, by group."
)
_DURATION = telemetry.meter.create_histogram(
    "messaging.process.duration", unit="s", description="How long a batch of messages took, by group."
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to be applied: as Kafka brought it, as it reads, and what is to be done about it."""

    record: Record
    envelope: Envelope
    event: Message
    handler: Handler

    @property
    def key(self) -> bytes:
        """What its order counts for: messages of one key are applied in their order. Without one, the subject."""
        return self.envelope.key if self.record.key is None else self.record.key

    @property
    def partition(self) -> TopicPartition:
        """Where it comes from."""
        return TopicPartition(self.record.topic, self.record.partition)

    @property
    def size_bytes(self) -> int:
        """What it needs in memory, roughly."""
        headers = sum(len(value or b"") for _, value in self.record.headers)
        return MESSAGE_BYTES + 2 * len(self.envelope.payload) + len(self.record.key or b"") + headers


class Deliveries:
    """What one group does about the messages it is given."""

    def __init__(self, database: Database, subscription: Subscription, trace_async: str) -> None:
        self._database, self._subscription, self._trace_async = database, subscription, trace_async

    def read(self, record: Record) -> Delivery | None:
        """The message behind a record; None if the group knows its type and does nothing about it.

        Raises:
            Poison: it can never be handled.
        """
        envelope = messages.parse(record.headers, record.value, record.timestamp)
        if self._subscription.ignores(envelope):
            return None
        return Delivery(record, envelope, *self._subscription.route(envelope))

    async def attempt(self, deliveries: Sequence[Delivery], limits: Limits) -> Exception | None:
        """Apply them in one transaction, all or none; returns why they are not applied, if they are not."""
        try:
            await self._apply(deliveries, limits)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything; what it means its caller decides
            return error
        return None

    def fail(self, delivery: Delivery, error: Exception) -> None:
        """Let the trace show that the message was given up."""
        span = self._span(delivery)
        telemetry.fail(span, error)
        span.end()

    async def _apply(self, deliveries: Sequence[Delivery], limits: Limits) -> None:
        began, at_ns = time.perf_counter(), time.time_ns()
        spans = [self._span(delivery, at_ns) for delivery in deliveries]
        # Alone, a message's trace tells everything; a statement that serves several orders belongs to the batch's.
        poll = None if len(deliveries) == 1 else self._poll(deliveries)
        with (
            telemetry.inside(poll or spans[0]),
            telemetry.about_order("" if poll else deliveries[0].envelope.subject),
        ):
            async with self._database.transaction(limits=limits) as transaction:
                transaction.batch = poll
                outcomes = await self._handle_new(transaction, deliveries, spans)
                transaction.keep_open(partial(_end, transaction, deliveries, spans, poll))
        group = self._subscription.group
        _DURATION.record(time.perf_counter() - began, {"messaging.consumer.group.name": group})
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            _HANDLED.add(1, {"group": group, "outcome": outcome})
            _AGE.record(message_spans.kafka_age_seconds(delivery.record, at_ns), {"group": group})

    async def _handle_new(
        self, transaction: Transaction, deliveries: Sequence[Delivery], spans: Sequence[Span]
    ) -> list[str]:
        """Note them and handle what was not noted before; of copies that meet in the batch, the first."""
        ids = [delivery.envelope.id for delivery in deliveries]
        new = await inbox.note(transaction, self._subscription.group, ids)
        outcomes: list[str] = []
        for delivery, span in zip(deliveries, spans, strict=True):
            outcome = "applied" if delivery.envelope.id in new else "duplicate"
            new.discard(delivery.envelope.id)
            outcomes.append(outcome)
            span.set_attribute("shop.inbox.outcome", outcome)
            if outcome == "applied":
                await self._handle(transaction, delivery, span)
        return outcomes

    async def _handle(self, transaction: Transaction, delivery: Delivery, span: Span) -> None:
        envelope, onward = delivery.envelope, None
        if self._trace_async == "link":
            # Only the message's own work begins a trace; what follows from it stays in the order's.
            onward = telemetry.Onward(envelope.trace, Link(span.get_span_context()))
        with telemetry.about_order(envelope.subject), telemetry.inside(span, delivery.handler, onward):
            await delivery.handler(transaction, delivery.event, envelope)

    def _poll(self, deliveries: Sequence[Delivery]) -> Span:
        topics = sorted({delivery.record.topic for delivery in deliveries})
        return message_spans.poll(topics, self._subscription.group, [delivery.envelope for delivery in deliveries])

    def _span(self, delivery: Delivery, at_ns: int | None = None) -> Span:
        return message_spans.process(
            delivery.record,
            delivery.envelope,
            self._subscription.group,
            delivery.handler,
            at_ns=at_ns,
            trace_async=self._trace_async,
        )


def _end(transaction: Transaction, deliveries: Sequence[Delivery], spans: Sequence[Span], poll: Span | None) -> None:
    """End the spans of a batch."""
    for delivery, span in zip(deliveries, spans, strict=True):
        if poll:
            message_spans.shared(span, transaction.shared_by(delivery.envelope.subject), len(deliveries))
        span.end()
    if poll:
        poll.end()


def batches(fetched: Iterable[Sequence[Taken]], batch_max: int) -> Iterable[list[Taken]]:
    """Cut what was fetched into batches: in order within each partition, no key twice in one batch."""
    waiting = [deque(records) for records in fetched if records]
    while waiting:
        batch: list[Taken] = []
        keys: set[bytes | None] = set()
        for records in waiting:
            while records and len(batch) < batch_max and records[0].key not in keys:
                keys.add(records[0].key)
                batch.append(records.popleft())
        waiting = [records for records in waiting if records]
        yield batch
