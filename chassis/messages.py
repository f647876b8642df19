"""What travels on Kafka: CloudEvents 1.0 in Kafka's binary mode, the value a protobuf message.

Source: CloudEvents Kafka protocol binding 1.0.2, section 3.2.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from chassis.telemetry import TraceContext

T = TypeVar("T")

CONTENT_TYPE = "application/protobuf"


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


def parse(sent: Iterable[tuple[str, bytes | None]], payload: bytes | None) -> Envelope:
    """The event behind Kafka headers and value.

    Raises:
        Poison: a required attribute is missing or malformed, or there is no payload.
    """
    # A header may be null on Kafka.
    named = {name: value for name, value in sent if value is not None}
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

    read("ce_specversion", _exactly("1.0"))
    read("content-type", _exactly(CONTENT_TYPE))
    named = {"traceparent": b"", "tracestate": b"", **named}
    return Envelope(
        id=read("ce_id", UUID),
        type=read("ce_type", str),
        source=read("ce_source", str),
        subject=read("ce_subject", str),
        time=read("ce_time", datetime.fromisoformat),
        sequence=read("ce_sequence", int),
        trace=TraceContext(read("traceparent", str), read("tracestate", str)),
        payload=payload,
    )


def _exactly(expected: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value != expected:
            raise ValueError(f"not {expected}")
        return value

    return check
