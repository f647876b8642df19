"""Spans in OTLP: what the SDK's own encoder says, word for word, whatever a span carries."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from chassis import otlp
from conftest import free_port

INT64 = 2**63
SCALARS = (
    st.text(max_size=20),
    st.booleans(),
    st.integers(-INT64, INT64 - 1),
    st.floats(allow_nan=False),
)
VALUES = st.one_of(*SCALARS, *(st.lists(scalar, max_size=3) for scalar in SCALARS), st.binary(max_size=5))
ATTRIBUTES = st.dictionaries(st.text(min_size=1, max_size=5), VALUES, max_size=5)


def recorded(record: Callable[[Tracer], None], **limits: int) -> Sequence[ReadableSpan]:
    """The spans that `record` ends."""
    provider = TracerProvider(
        resource=Resource({"service.name": "order", "ports": (1, 2)}, "https://resource.example/1"),
        span_limits=SpanLimits(**limits),
        shutdown_on_exit=False,
    )
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    record(provider.get_tracer("shop", "1.0", schema_url="https://scope.example/1", attributes={"of": "scope"}))
    record(provider.get_tracer("another"))
    return exporter.get_finished_spans()


@given(ATTRIBUTES)
def test_every_attribute_is_encoded_as_the_library_does(attributes: Mapping[str, Any]) -> None:
    """Also the second time, when its bytes are known; also 1, 1.0 and True, which are equal."""

    def record(tracer: Tracer) -> None:
        for _ in range(2):
            tracer.start_span("a", attributes=attributes).end()
        for value in (1, 1.0, True, (1,), (True,), {"nested": 1}, None):
            tracer.start_span("b", attributes={"same": value}).end()

    spans = recorded(record)
    assert otlp.encode(spans) == encode_spans(spans)


@pytest.mark.parametrize("kind", SpanKind)
@pytest.mark.parametrize("remote", [True, False])
def test_every_part_of_a_span_is_encoded_as_the_library_does(kind: SpanKind, remote: bool) -> None:
    """Parents, links, events, status, trace state, and the counts of what did not fit."""
    far = SpanContext(
        7, 9, is_remote=remote, trace_flags=TraceFlags(1), trace_state=TraceState([("a", "1"), ("b", "2")])
    )

    def record(tracer: Tracer) -> None:
        parent = set_span_in_context(NonRecordingSpan(far))
        links = [Link(far), Link(far, {"why": "both"}), Link(far)]
        full = tracer.start_span("full", parent, kind, {"a": 1, "b": 2, "c": 3, "d": 4}, links)
        for number in range(3):
            full.add_event("noted", {"number": number, "of": "three", "left": "out"})
        full.set_status(StatusCode.ERROR, "gone")
        full.end()
        fine = tracer.start_span("fine", kind=kind)
        fine.set_status(StatusCode.OK)
        fine.end()

    spans = recorded(record, max_span_attributes=2, max_events=2, max_links=2, max_event_attributes=2)
    assert spans[0].dropped_attributes == 2
    assert spans[0].dropped_events == spans[0].dropped_links == spans[0].events[0].dropped_attributes == 1
    assert otlp.encode(spans) == encode_spans(spans)


def test_no_span_is_no_request() -> None:
    """As the library does."""
    assert otlp.encode([]) == encode_spans([])


@pytest.mark.parametrize("value", ["\ud800", 2**64, ("fine", "\ud800")])
def test_an_attribute_that_cannot_be_encoded_is_left_out(value: Any) -> None:
    """The span goes, without it, and so do the spans beside it."""
    spans = recorded(lambda tracer: tracer.start_span("a", attributes={"bad": value, "good": 1}).end())
    for scope in otlp.encode(spans).resource_spans[0].scope_spans:
        assert [attribute.key for attribute in scope.spans[0].attributes] == ["good"]


class Receiver(TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.received: list[ExportTraceServiceRequest] = []

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        self.received.append(request)
        return ExportTraceServiceResponse()


def test_the_exporter_sends_what_was_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the way that the library's exporter offers, and past a proxy that leads out of the house."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    asked: list[Sequence[ReadableSpan]] = []
    encode = otlp.encode

    def noting(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        asked.append(spans)
        return encode(spans)

    monkeypatch.setattr(otlp, "encode", noting)
    receiver, server = Receiver(), grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    exporter = otlp.SpanExporter(f"http://127.0.0.1:{port}", timeout_seconds=5)
    spans = recorded(lambda tracer: tracer.start_span("a").end())
    try:
        assert exporter.export(spans) is SpanExportResult.SUCCESS
    finally:
        exporter.shutdown()
        server.stop(None).wait()
    assert receiver.received == [encode_spans(spans)]
    assert asked == [spans]
