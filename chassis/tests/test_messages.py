"""Messages on Kafka: CloudEvents in binary mode, and nothing but Poison for what is none."""

import contextlib
import dataclasses
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from google.protobuf.wrappers_pb2 import Int64Value
from hypothesis import given, strategies

from chassis.kafka import Producer
from chassis.messages import NO_TIMESTAMP, Envelope, Poison, headers, parse
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


TEXT = strategies.text(strategies.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1)
TRACES = strategies.sampled_from(
    [
        TraceContext(),
        TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b,c@d=e"),
    ]
)


@given(
    strategies.builds(
        Envelope,
        id=strategies.uuids(),
        type=TEXT,
        source=TEXT,
        subject=TEXT,
        time=strategies.datetimes(timezones=strategies.just(UTC)),
        sequence=strategies.integers(0, 2**63 - 1),
        trace=TRACES,
        payload=strategies.binary(),
    )
)
def test_what_is_parsed_is_what_was_sent(sent: Envelope) -> None:
    """No attribute is lost or changed by its header, an empty payload and a missing trace included."""
    assert parse(headers(sent), sent.payload) == sent


REQUIRED = [name for name, _ in headers(ENVELOPE) if not name.startswith("trace") and name != "ce_time"]


def with_header(name: str, *values: bytes | None) -> list[tuple[str, bytes | None]]:
    """The headers of the event, one of them as often as there are values."""
    return [*(found for found in headers(ENVELOPE) if found[0] != name), *((name, value) for value in values)]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_header_is_named(name: str) -> None:
    """Whoever reads the dead letter sees which attribute was not there; null on Kafka is not there."""
    for sent in (with_header(name), with_header(name, None)):
        with pytest.raises(Poison, match=f"header {name} is missing"):
            parse(sent, b"")


@pytest.mark.parametrize("name", [*REQUIRED, "ce_time"])
def test_a_malformed_header_is_named(name: str) -> None:
    """Whoever reads the dead letter sees which attribute could not be read."""
    with pytest.raises(Poison, match=f"header {name} is malformed"):
        parse(with_header(name, b"\xff"), b"")


OTHER_FORMS = {
    "ce_specversion": [b"0.3", b"1.1", b"1", b"1.0 ", b""],
    "content-type": [
        b"application/json",
        b"application/x-protobuf",
        b"application/protobufs",
        b"protobuf",
        b"text/plain; as=application/protobuf",
        b"",
    ],
    "ce_id": [
        b"7",
        b"0198C0DE-0000-7000-8000-00000000000A",
        b"{0198c0de-0000-7000-8000-000000000001}",
        b"urn:uuid:0198c0de-0000-7000-8000-000000000001",
        b"0198c0de000070008000000000000001",
        b" 0198c0de-0000-7000-8000-000000000001",
        b"0198c0de-0000-7000-8000-000000000001\n",
        "0198c0de-0000-7000-8000-00000000000\N{ARABIC-INDIC DIGIT ONE}".encode(),
        b"",
    ],
    "ce_type": [b"", b"shop.order.v1.\x00", b"a\nb"],
    "ce_source": [b"", b"order\x00", "order\u0085".encode()],
    "ce_subject": [b"", b"order-1\x00", b"order\x7f1"],
    "ce_time": [b"yesterday", b"2026-01-02", b"2026-01-02T03:04:05", b""],
    "ce_sequence": [
        b"first",
        b"+7",
        b"-7",
        b"-0",
        b"7.0",
        b"1_000",
        b" 7",
        b"7\n",
        b"007",
        b"0x7",
        "\N{ARABIC-INDIC DIGIT SEVEN}".encode(),
        str(2**63).encode(),
        b"9" * 5_000,
        b"",
    ],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in OTHER_FORMS.items() for value in values])
def test_a_header_of_another_form_is_named(name: str, value: bytes) -> None:
    """Readable text that is not what the attribute must be is poison too, also where Python would read it."""
    with pytest.raises(Poison, match=f"header {name} is malformed"):
        parse(with_header(name, value), b"")


@pytest.mark.parametrize("name", [*REQUIRED, "ce_time"])
def test_a_header_with_two_values_is_poison(name: str) -> None:
    """Nobody knows which of them the event means; the same value twice, or a null beside it, says one thing."""
    value = dict(headers(ENVELOPE))[name]
    with pytest.raises(Poison, match=f"header {name} is malformed: it stands there twice"):
        parse(with_header(name, value, value + b"1"), b"payload")
    assert parse(with_header(name, value, value), b"payload") == ENVELOPE
    assert parse(with_header(name, None, value, None), b"payload") == ENVELOPE


@pytest.mark.parametrize(
    "value",
    [
        b"Application/Protobuf",
        b"APPLICATION/PROTOBUF",
        b"application/protobuf;charset=utf-8",
        b'application/protobuf ; messageType="shop.order.v1.OrderPlaced"',
    ],
)
def test_a_media_type_is_read_as_one(value: bytes) -> None:
    """Type and subtype have no case, and parameters change nothing."""
    assert parse(with_header("content-type", value), b"payload") == ENVELOPE


@pytest.mark.parametrize(
    "value",
    [b"application/cloudevents+json", b"Application/CloudEvents+JSON; charset=UTF-8", b"application/cloudevents+avro",
     b"application/cloudevents-batch+json"],
)  # fmt: skip
def test_the_structured_mode_is_named(value: bytes) -> None:
    """A message in it has none of the other headers; the reason must not be that they are missing."""
    with pytest.raises(Poison, match=r"application/cloudevents.* only the binary mode is read"):
        parse([("content-type", value)], b'{"specversion": "1.0"}')


AT_MS = 1_767_323_045_678


@pytest.mark.parametrize("sent", [with_header("ce_time"), with_header("ce_time", None)])
def test_an_event_without_a_time_has_its_record_s(sent: list[tuple[str, bytes | None]]) -> None:
    """The time is optional; when Kafka had the record is as near as anybody can tell."""
    assert parse(sent, b"payload", AT_MS).time == datetime.fromtimestamp(AT_MS / 1000, UTC)
    assert parse(headers(ENVELOPE), b"payload", AT_MS).time == ENVELOPE.time


@pytest.mark.parametrize("timestamp_ms", [None, NO_TIMESTAMP, -(2**63), 2**63 - 1, 253_402_300_800_000])
def test_a_record_without_a_usable_timestamp_has_just_come(timestamp_ms: int | None) -> None:
    """A producer may send none, or any number at all."""
    before = datetime.now(UTC)
    assert before <= parse(with_header("ce_time"), b"", timestamp_ms).time <= datetime.now(UTC)


def test_a_time_is_the_same_moment_wherever_it_was_written() -> None:
    """It is brought to UTC, for that is what a row can always store."""
    found = parse(with_header("ce_time", b"2026-01-02T04:34:05+01:30"), b"payload")
    assert found == ENVELOPE
    assert found.time.utcoffset() == timedelta(0)


@pytest.mark.parametrize("name", ["traceparent", "tracestate"])
@pytest.mark.parametrize("value", [None, b"", b"\xff", "ÿ".encode(), b"x" * 100_000])
def test_a_broken_trace_context_costs_the_trace_alone(name: str, value: bytes | None) -> None:
    """The event is what matters; see the tests of trace_headers for what is left of the context."""
    found = parse(with_header(name, value), b"payload")
    assert dataclasses.replace(found, trace=ENVELOPE.trace) == ENVELOPE
    assert found.trace != ENVELOPE.trace


def test_a_trace_context_that_stands_there_twice_is_none() -> None:
    """Of two parents none is known to be the right one; states are a list, which may be spread."""
    other = b"00-11111111111111111111111111111111-b7ad6b7169203331-01"
    for values in ((ENVELOPE.trace.traceparent.encode(), other), (other, ENVELOPE.trace.traceparent.encode(), other)):
        assert parse(with_header("traceparent", *values), b"").trace == TraceContext()
    assert parse(with_header("tracestate", b"a=b", b"c=d"), b"").trace.tracestate == "a=b,c=d"


def test_a_null_payload_is_poison() -> None:
    """A deletion on a compacted topic is not an event whose fields all have their defaults."""
    with pytest.raises(Poison, match="payload is null"):
        parse(headers(ENVELOPE), None)


async def test_an_event_without_content_travels(topic: Topic, producer: Producer) -> None:
    """An empty payload arrives as an empty payload, not as null."""
    await send(producer, topic, event("a", payload=Int64Value()))
    [record] = await topic.records()
    assert parse(record.headers, record.value).payload == b""
