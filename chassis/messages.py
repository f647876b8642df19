"""What travels on Kafka: CloudEvents 1.0 in Kafka's binary mode, the value a protobuf message.

Required are specversion, id, type, source, subject, sequence and the content type; optional are time and the trace
context.

Sources: CloudEvents 1.0.2, section 3; its Kafka protocol binding, section 3.2; its extension `sequence`.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from google.protobuf.message import Message

from chassis import rfc3339, trace_headers, uuids
from chassis.telemetry import TraceContext

T = TypeVar("T")

CONTENT_TYPE = "application/protobuf"
_CONTENT_TYPE = CONTENT_TYPE.encode()
# The timestamp of a record that has none (Kafka's own number).
NO_TIMESTAMP = -1
# The end of the year 9999.
_TIMESTAMP_MS_MAX = 253_402_300_799_999
# What the database can store.
SEQUENCE_MAX = 2**63 - 1

# The field of a payload that says what the event is about.
_ORDER_ID = "order_id"
NUMBER = re.compile("0|[1-9][0-9]{0,18}")
# No attribute may hold one (CloudEvents, section 3.1), and PostgreSQL takes no NUL.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


class Poison(Exception):
    """The message can never be handled: it does not decode, or nobody knows its type."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event on its way, with everything a receiver needs before it opens the payload."""

    id: UUID
    type: str
    source: str
    subject: str
    time: datetime
    sequence: int
    trace: TraceContext
    payload: bytes

    @property
    def key(self) -> bytes:
        """The Kafka key: everything about one order stays in one partition."""
        return self.subject.encode()


def headers(envelope: Envelope) -> list[tuple[str, bytes]]:
    """The Kafka headers of an event."""
    named = {
        "ce_specversion": "1.0",
        "ce_id": str(envelope.id),
        "ce_type": envelope.type,
        "ce_source": envelope.source,
        "ce_subject": envelope.subject,
        "ce_time": envelope.time.isoformat(),
        "ce_sequence": str(envelope.sequence),
        "content-type": CONTENT_TYPE,
        "traceparent": envelope.trace.traceparent,
        "tracestate": envelope.trace.tracestate,
    }
    return [(name, value.encode()) for name, value in named.items() if value]


def parse(
    sent: Iterable[tuple[str, bytes | None]], payload: bytes | None, timestamp_ms: int | None = NO_TIMESTAMP
) -> Envelope:
    """The event behind Kafka headers and value.

    Args:
        timestamp_ms: the record's; the time of an event that says none.

    Raises:
        Poison: a required attribute is missing or malformed, the time is malformed, or there is no payload.
    """
    named = _named(sent)
    if payload is None:
        # An event without content has an empty payload; a null deletes a key of a compacted topic.
        raise Poison("the payload is null")

    def read(header: str, read_value: Callable[[str], T]) -> T:
        try:
            return read_value(named[header].decode())
        except KeyError:
            raise Poison(f"header {header} is missing") from None
        except ValueError as malformed:
            raise Poison(f"header {header} is malformed: {malformed}") from None

    # First, for a message in another mode has none of the others.
    if named.get("content-type") != _CONTENT_TYPE:
        read("content-type", _media_type)
    read("ce_specversion", _version)
    return Envelope(
        id=read("ce_id", uuids.read),
        type=read("ce_type", _text),
        source=read("ce_source", _text),
        subject=read("ce_subject", _text),
        time=read("ce_time", rfc3339.read) if "ce_time" in named else recorded_at(timestamp_ms),
        sequence=read("ce_sequence", _number),
        trace=trace_headers.read(named.get("traceparent", b""), named.get("tracestate", b"")),
        payload=payload,
    )


def check_order(event: Message, envelope: Envelope) -> None:
    """An event is about one order: the one that its `ce_subject` names is the one that its payload's `order_id` names.

    Whatever an event does, it does to the order of its payload, and is traced and kept in order as its subject's.

    Raises:
        Poison: they differ, or the id is in another spelling. Without such a field, an event may be about anything.
    """
    if _ORDER_ID not in event.DESCRIPTOR.fields_by_name:
        return
    order_id = str(getattr(event, _ORDER_ID))
    if order_id != envelope.subject:
        raise Poison(
            f"ce_subject {envelope.subject[:100]!r} is another order than {_ORDER_ID} {order_id[:100]!r} in the payload"
        )
    if not uuids.is_canonical(order_id):
        raise Poison(f"{_ORDER_ID} {order_id[:100]!r} in the payload is not {uuids.CANONICAL}")


def _named(sent: Iterable[tuple[str, bytes | None]]) -> dict[str, bytes]:
    """Headers by their name. One may be null on Kafka, which is as if it were not there, or stand there twice."""
    named: dict[str, bytes] = {}
    for name, value in sent:
        if value is not None and (before := named.setdefault(name, value)) != value:
            named[name] = _joined(name, before, value)
    return named


def _joined(name: str, before: bytes, value: bytes) -> bytes:
    """What a header says that stands there twice, with two values.

    Raises:
        Poison: nobody knows which of them the event means.
    """
    if name.startswith("ce_") or name == "content-type":
        raise Poison(f"header {name} is malformed: it stands there twice, with two values")
    # A list may be spread over several headers (W3C Trace Context, 3.3.1.4); nothing else can be joined.
    return before + b"," + value if name == "tracestate" else b""


def _media_type(value: str) -> None:
    """Its letters may be large or small, and parameters say nothing here (RFC 9110, section 8.3.1)."""
    media_type = value.partition(";")[0].strip(" \t").lower()
    if media_type.startswith("application/cloudevents"):
        raise ValueError(f"{media_type[:100]} is CloudEvents' structured or batched mode; only the binary mode is read")
    if media_type != CONTENT_TYPE:
        raise ValueError(f"not {CONTENT_TYPE}")


def _version(value: str) -> None:
    if value != "1.0":
        raise ValueError("not 1.0")


def _text(value: str) -> str:
    if not value:
        raise ValueError("it is empty")
    # Ordinary text is told apart quickly.
    if not value.isprintable() and _CONTROL.search(value):
        raise ValueError("it has control characters")
    return value


def _number(value: str) -> int:
    """No sign, underscores, spaces, leading zeros, or digits of other scripts, all of which Python would read."""
    if not NUMBER.fullmatch(value) or (number := int(value)) > SEQUENCE_MAX:
        raise ValueError(f"not a whole number from 0 to {SEQUENCE_MAX}")
    return number


def recorded_at(timestamp_ms: int | None) -> datetime:
    """When Kafka had the record; now, if it does not say, or what no calendar has."""
    if timestamp_ms is None or not NO_TIMESTAMP < timestamp_ms <= _TIMESTAMP_MS_MAX:
        return datetime.now(UTC)
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
