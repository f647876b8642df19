"""The spans along a message's way, named and attributed by the semantic conventions for messaging (1.44).

    create PRODUCER ─┬─▶ send CLIENT       by the relay
                     └─▶ process CONSUMER  by each group

    create ── in the outbox ──▶ timestamp of the acknowledged record ── on Kafka ──▶ process

The context of `create` is the one that the row stores and the message carries, unchanged: what is done about the
message later is its child, or, with TRACE_ASYNC=link, a trace of its own that links to it. The two waits are
attributes of `send` and of `process`, in milliseconds, and never below 0: the record's timestamp has no fractions.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from aiokafka import ConsumerRecord
from aiokafka.structs import RecordMetadata
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, get_current_span

from chassis import telemetry
from chassis.messages import Envelope
from chassis.source import code

OUTBOX_AGE_MS, KAFKA_AGE_MS = "shop.outbox.age_ms", "shop.kafka.age_ms"


def create(topic: str, event_id: UUID, subject: str, event_type: str, at_ns: int) -> Span:
    """The promise, in the business transaction: from the handler's word at `at_ns` to the row in the outbox."""
    onward = telemetry.onward()
    return telemetry.start_span(
        _name("create", topic, event_type),
        SpanKind.PRODUCER,
        {
            **_about(topic, "create"),
            "messaging.message.id": str(event_id),
            "messaging.kafka.message.key": subject,
            "shop.event.type": event_type,
        },
        telemetry.restore(onward.trace) if onward else None,
        [onward.cause] if onward else (),
        at_ns,
    )


def send(topic: str, envelope: Envelope, sender: Callable[..., Any]) -> Span:
    """The promise kept: from handing the message to the client to the broker's acknowledgement.

    Args:
        sender: whose code sends; the current span is its round, and is linked.
    """
    round_span = get_current_span().get_span_context()
    return telemetry.start_span(
        _name("send", topic, envelope.type),
        # The create span is the PRODUCER and holds the creation context, so this one is a CLIENT.
        SpanKind.CLIENT,
        {
            **_about(topic, "send"),
            "messaging.message.id": str(envelope.id),
            "messaging.kafka.message.key": envelope.subject,
            telemetry.ORDER_ID: envelope.subject,
            **code(sender),
        },
        telemetry.restore(envelope.trace),
        [*telemetry.link(envelope.trace), Link(round_span)],
    )


def sent(span: Span, envelope: Envelope, acknowledged: RecordMetadata, timestamp_ms: int) -> float:
    """Note where the broker put the message; returns how long it waited in the outbox, in seconds.

    Args:
        timestamp_ms: the record's, which its consumers see too.
    """
    age_ms = max(0.0, timestamp_ms - envelope.time.timestamp() * 1000)
    span.set_attributes(
        {
            "messaging.destination.partition.id": str(acknowledged.partition),
            "messaging.kafka.offset": acknowledged.offset,
            OUTBOX_AGE_MS: round(age_ms, 3),
        }
    )
    return age_ms / 1000


def poll(topics: Sequence[str], group: str, envelopes: Sequence[Envelope]) -> Span:
    """What was fetched and applied together: a small trace of its own that links to every order it carried."""
    return telemetry.start_span(
        f"poll {' '.join(topics)}",
        SpanKind.CLIENT,
        {
            "messaging.system": "kafka",
            "messaging.operation.name": "poll",
            "messaging.operation.type": "receive",
            "messaging.consumer.group.name": group,
            "messaging.batch.message_count": len(envelopes),
            **code(poll),
        },
        Context(),
        [link for envelope in envelopes for link in telemetry.link(envelope.trace)],
    )


def process(
    record: ConsumerRecord[bytes, bytes],
    envelope: Envelope,
    group: str,
    handler: Callable[..., Any],
    *,
    at_ns: int | None = None,
    trace_async: str = "parent",
) -> Span:
    """One message that one group applies, inbox row to COMMIT, from `at_ns`, or now, on.

    Args:
        trace_async: `parent` makes the span a child of the creation, `link` the root of a new trace; both link to it.
    """
    at_ns = at_ns or time.time_ns()
    return telemetry.start_span(
        _name("process", record.topic, envelope.type),
        SpanKind.CONSUMER,
        {
            **_about(record.topic, "process"),
            "messaging.destination.partition.id": str(record.partition),
            "messaging.consumer.group.name": group,
            "messaging.message.id": str(envelope.id),
            "messaging.kafka.message.key": envelope.subject,
            "messaging.kafka.offset": record.offset,
            telemetry.ORDER_ID: envelope.subject,
            "shop.event.type": envelope.type,
            "shop.event.sequence": envelope.sequence,
            KAFKA_AGE_MS: round(kafka_age_seconds(record, at_ns) * 1000, 3),
            **code(handler),
        },
        telemetry.restore(envelope.trace) if trace_async == "parent" else Context(),
        telemetry.link(envelope.trace),
        at_ns,
    )


def kafka_age_seconds(record: ConsumerRecord[bytes, bytes], at_ns: int) -> float:
    """How long the message had been on Kafka at a moment, in nanoseconds since the epoch; 0 where it does not say."""
    if not record.timestamp:
        return 0.0
    return max(0.0, at_ns / 1e9 - record.timestamp / 1e3)


def shared(span: Span, statements: Mapping[str, SpanContext], messages: int) -> None:
    """Let a message's span name the statements that it shared with others of its batch, and link to them."""
    span.set_attributes({"shop.batch.messages": messages, "shop.batch.statements": list(statements)})
    for summary, context in statements.items():
        span.add_link(context, {"db.query.summary": summary, "db.operation.batch.size": messages})


def _name(operation: str, topic: str, event_type: str) -> str:
    """By the semantic conventions, and the event's name after it: a row of a trace says what it is about."""
    return f"{operation} {topic} {event_type.rpartition('.')[2]}"


def _about(topic: str, operation: str) -> dict[str, str | int]:
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }
