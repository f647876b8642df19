"""Messages on Kafka: CloudEvents in binary mode, and nothing but Poison for what is none."""

import contextlib
from datetime import UTC, datetime
from uuid import UUID

import pytest
from google.protobuf.wrappers_pb2 import Int64Value
from hypothesis import given, strategies

from chassis.kafka import Producer
from chassis.messages import Envelope, Poison, headers, parse
from chassis.telemetry import TraceContext
from chassis.tests.surroundings import Topic, event, send

ENVELOPE = Envelope(
    UUID("0198c0de-0000-7000-8000-000000000001"),
    "shop.order.v1.OrderPlaced",
    "order",
    "order-1",
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    7,
    TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b"),
    b"payload",
)


def test_the_headers_are_cloudevents_in_binary_mode() -> None:
    """Every attribute has its header, the trace context is sent as it was stored, the key is the subject."""
    assert dict(headers(ENVELOPE)) == {
        "ce_specversion": b"1.0",
        "ce_id": b"0198c0de-0000-7000-8000-000000000001",
        "ce_type": b"shop.order.v1.OrderPlaced",
        "ce_source": b"order",
        "ce_subject": b"order-1",
        "ce_time": b"2026-01-02T03:04:05+00:00",
        "ce_sequence": b"7",
        "content-type": b"application/protobuf",
        "traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": b"a=b",
    }
    assert ENVELOPE.key == b"order-1"
    assert parse(headers(ENVELOPE), b"payload") == ENVELOPE


@given(
    strategies.lists(
        strategies.tuples(
            strategies.sampled_from([name for name, _ in headers(ENVELOPE)]), strategies.none() | strategies.binary()
        )
    ),
    strategies.none() | strategies.binary(),
)
def test_whatever_stands_in_the_headers_it_is_an_event_or_poison(
    sent: list[tuple[str, bytes | None]], payload: bytes | None
) -> None:
    """No header, however broken, is a fault that would be retried."""
    whole: list[tuple[str, bytes | None]] = [*headers(ENVELOPE), *sent]
    for found in (sent, whole):
        with contextlib.suppress(Poison):
            assert isinstance(parse(found, payload), Envelope)


TEXT = strategies.text(strategies.characters(codec="utf-8"), min_size=1)


@given(
    strategies.builds(
        Envelope,
        id=strategies.uuids(),
        type=TEXT,
        source=TEXT,
        subject=TEXT,
        time=strategies.datetimes(timezones=strategies.just(UTC)),
        sequence=strategies.integers(0, 2**63 - 1),
        trace=strategies.builds(TraceContext, strategies.just("") | TEXT, strategies.just("") | TEXT),
        payload=strategies.binary(),
    )
)
def test_what_is_parsed_is_what_was_sent(sent: Envelope) -> None:
    """No attribute is lost or changed by its header, an empty payload and a missing trace included."""
    assert parse(headers(sent), sent.payload) == sent


REQUIRED = [name for name, _ in headers(ENVELOPE) if not name.startswith("trace")]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_header_is_named(name: str) -> None:
    """Whoever reads the dead letter sees which attribute was not there; null on Kafka is not there."""
    without: list[tuple[str, bytes | None]] = [found for found in headers(ENVELOPE) if found[0] != name]
    for sent in (without, [*without, (name, None)]):
        with pytest.raises(Poison, match=f"header {name} is missing"):
            parse(sent, b"")


@pytest.mark.parametrize("name", [name for name, _ in headers(ENVELOPE)])
def test_a_malformed_header_is_named(name: str) -> None:
    """Whoever reads the dead letter sees which attribute could not be read."""
    with pytest.raises(Poison, match=f"header {name} is malformed"):
        parse([*headers(ENVELOPE), (name, b"\xff")], b"")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_specversion", b"0.3"),
        ("content-type", b"application/json"),
        ("ce_id", b"7"),
        ("ce_time", b"yesterday"),
        ("ce_sequence", b"first"),
    ],
)
def test_a_header_of_another_form_is_named(name: str, value: bytes) -> None:
    """Readable text that is not what the attribute must be is poison too."""
    with pytest.raises(Poison, match=f"header {name} is malformed"):
        parse([*headers(ENVELOPE), (name, value)], b"")


def test_a_null_payload_is_poison() -> None:
    """A deletion on a compacted topic is not an event whose fields all have their defaults."""
    with pytest.raises(Poison, match="payload is null"):
        parse(headers(ENVELOPE), None)


async def test_an_event_without_content_travels(topic: Topic, producer: Producer) -> None:
    """An empty payload arrives as an empty payload, not as null."""
    await send(producer, topic, event("a", payload=Int64Value()))
    [record] = await topic.records()
    assert parse(record.headers, record.value).payload == b""
