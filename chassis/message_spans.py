"""The spans along a message's way, named and attributed by the semantic conventions for messaging (1.44).

    create PRODUCER ─┬─▶ send CLIENT       by the relay; between the two lies the time in the outbox
                     └─▶ process CONSUMER  by each group; between send and process lies the time on Kafka

The context of `create` is the one that the row stores and the message carries, unchanged: whatever is done about the
message later is its child, or, with TRACE_ASYNC=link, a trace of its own that links to it.
"""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from aiokafka import ConsumerRecord
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, get_current_span

from chassis import telemetry
from chassis.messages import Envelope


def create(topic: str, event_id: UUID, subject: str, event_type: str) -> Span:
    """The moment of the promise, in the business transaction."""
    return telemetry.start_span(
        f"create {topic}",
        SpanKind.PRODUCER,
        {
            **_about(topic, "create"),
            "messaging.message.id": str(event_id),
            "messaging.kafka.message.key": subject,
            "shop.event.type": event_type,
        },
    )


def send(topic: str, envelope: Envelope, age_seconds: float, sender: Callable[..., Any]) -> Span:
    """The promise kept: from handing the message to the client to the broker's acknowledgement.

    Args:
        age_seconds: how long the message waited in the outbox.
        sender: whose code sends; the current span is its round, and is linked.
    """
    round_span = get_current_span().get_span_context()
    return telemetry.start_span(
        f"send {topic}",
        # The create span is the PRODUCER and holds the creation context, so this one is a CLIENT.
        SpanKind.CLIENT,
        {
            **_about(topic, "send"),
            "messaging.message.id": str(envelope.id),
            "messaging.kafka.message.key": envelope.subject,
            telemetry.ORDER_ID: envelope.subject,
            "shop.outbox.age_ms": round(age_seconds * 1000, 1),
            **telemetry.code(sender),
        },
        telemetry.restore(envelope.trace),
        [*telemetry.link(envelope.trace), Link(round_span)],
    )


def sent(span: Span, partition: int, offset: int) -> None:
    """Note where the broker put the message."""
    span.set_attribute("messaging.destination.partition.id", str(partition))
    span.set_attribute("messaging.kafka.offset", offset)


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
    batch: Span | None = None,
    trace_async: str = "parent",
) -> Span:
    """One message in one group's hands, inbox row to COMMIT.

    Args:
        batch: the `poll` span of what it is applied with; it is linked.
        trace_async: `parent` makes the span a child of the creation, `link` the root of a new trace; both link to it.
    """
    links = telemetry.link(envelope.trace)
    return telemetry.start_span(
        f"process {record.topic}",
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
            **telemetry.code(handler),
        },
        telemetry.restore(envelope.trace) if trace_async == "parent" else Context(),
        links if batch is None else [*links, Link(batch.get_span_context())],
    )


def _about(topic: str, operation: str) -> dict[str, str | int]:
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }
