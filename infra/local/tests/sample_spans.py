"""Spans of every shape the trace API has to give back: all kinds, all types of attribute, events, links, errors."""

from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from chassis.otlp import key_value

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
OTHER_TRACE_ID = "00000000000000000000000000000a0b"
ROOT, CREATE, SEND, PROCESS, SAGA, AGAIN = (f"{number:016x}" for number in range(1, 7))
# 2026-11-23T08:48:20Z
BEGIN_NS = 1_795_423_700_000_000_000


def span(
    name: str,
    span_id: str,
    parent_id: str = "",
    *,
    start_us: int = 0,
    took_us: int = 1,
    kind: "Span.SpanKind.ValueType" = Span.SPAN_KIND_INTERNAL,
    trace_id: str = TRACE_ID,
    attributes: dict[str, Any] | None = None,
    **fields: Any,
) -> Span:
    start = BEGIN_NS + start_us * 1_000
    return Span(
        trace_id=bytes.fromhex(trace_id),
        span_id=bytes.fromhex(span_id),
        parent_span_id=bytes.fromhex(parent_id),
        name=name,
        kind=kind,
        start_time_unix_nano=start,
        end_time_unix_nano=start + took_us * 1_000,
        attributes=[key_value(key, value) for key, value in (attributes or {}).items()],
        **fields,
    )


def export(service: str, scope: str, *spans: Span) -> ExportTraceServiceRequest:
    resource = Resource(attributes=[key_value("service.name", service), key_value("service.namespace", "shop")])
    scope_spans = ScopeSpans(scope=InstrumentationScope(name=scope, version="1"), spans=spans)
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope_spans])])


def sample_exports() -> list[ExportTraceServiceRequest]:
    """What three processes export of two traces; the answer of a real Jaeger to it is in jaeger_answer.json."""
    post = span(
        "POST /v1/orders",
        "00f067aa0ba902b7",
        kind=Span.SPAN_KIND_SERVER,
        took_us=9_000,
        flags=257,
        trace_state="a=b",
        attributes={
            "shop.order.id": "order-1",
            "http.response.status_code": 202,
            "bool": True,
            "double": 1.5,
            "bytes": b"\x01\xff",
            "array": ["x", 2],
            "map": {"key": "value"},
            "negative": -3,
            "empty": "",
            "zero": 0,
            "false": False,
        },
    )
    call = span(
        "PlaceOrder",
        "00f067aa0ba902b8",
        "00f067aa0ba902b7",
        kind=Span.SPAN_KIND_CLIENT,
        start_us=1_000,
        took_us=7_000,
        status=Status(code=Status.STATUS_CODE_ERROR, message="unavailable"),
    )
    served = span(
        "PlaceOrder",
        "00f067aa0ba902b9",
        "00f067aa0ba902b8",
        kind=Span.SPAN_KIND_SERVER,
        start_us=2_000,
        took_us=5_000,
        status=Status(code=Status.STATUS_CODE_OK),
        dropped_attributes_count=2,
        events=[
            Span.Event(time_unix_nano=BEGIN_NS + 2_000_002, name="later", attributes=[key_value("key", "value")]),
            Span.Event(time_unix_nano=BEGIN_NS + 2_000_001, name="earlier"),
        ],
        links=[
            Span.Link(
                trace_id=bytes.fromhex(OTHER_TRACE_ID),
                span_id=bytes.fromhex("00f067aa0ba902aa"),
                attributes=[key_value("key", 1)],
                flags=1,
            )
        ],
    )
    inserted = span(
        "INSERT orders",
        "00f067aa0ba902ba",
        "00f067aa0ba902b9",
        kind=Span.SPAN_KIND_CLIENT,
        start_us=3_000,
        took_us=500,
    )
    created = span(
        "create order.events OrderPlaced",
        "00f067aa0ba902bb",
        "00f067aa0ba902b9",
        kind=Span.SPAN_KIND_PRODUCER,
        start_us=4_000,
        took_us=100,
        attributes={"shop.order.id": "order-1"},
    )
    other = span(
        "relay",
        "00f067aa0ba902aa",
        kind=Span.SPAN_KIND_UNSPECIFIED,
        trace_id=OTHER_TRACE_ID,
        start_us=3_000_000,
        attributes={"shop.order.id": "order-2"},
    )
    return [
        export("gateway", "fastapi", post),
        export("order", "chassis", served, inserted, created, other),
        export("gateway", "grpc", call),
    ]


def link(span_id: str, trace_id: str = TRACE_ID) -> Span.Link:
    return Span.Link(trace_id=bytes.fromhex(trace_id), span_id=bytes.fromhex(span_id))


def travelled() -> list[ExportTraceServiceRequest]:
    """An event from its transaction through outbox and broker into the next service, and a command that failed once."""
    unavailable = Status(code=Status.STATUS_CODE_ERROR, message="UNAVAILABLE")
    release = {"shop.saga.direction": "compensate", "shop.command.age_ms": 1.0}
    return [
        export(
            "inventory",
            "chassis",
            span(
                "process order.events OrderPlaced",
                PROCESS,
                CREATE,
                start_us=9_000,
                took_us=2_000,
                links=[link(CREATE), link(ROOT, OTHER_TRACE_ID)],
                attributes={"shop.kafka.age_ms": 3.52},
            ),
        ),
        export(
            "order",
            "chassis",
            span("PlaceOrder", ROOT, took_us=3_000),
            span("create order.events OrderPlaced", CREATE, ROOT, start_us=1_000, took_us=20),
            span(
                "send order.events OrderPlaced",
                SEND,
                CREATE,
                start_us=4_000,
                took_us=1_500,
                attributes={"shop.outbox.age_ms": 4.48},
            ),
            span(
                "saga release_stock",
                SAGA,
                ROOT,
                start_us=12_000,
                took_us=500,
                status=unavailable,
                attributes={**release, "shop.command.try": 1},
            ),
            span(
                "saga release_stock",
                AGAIN,
                ROOT,
                start_us=13_000,
                took_us=500,
                attributes={**release, "shop.command.try": 2},
            ),
        ),
    ]
