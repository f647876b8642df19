"""The store keeps whole traces within its bound, cheaply."""

import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from infra.local.tests.sample_spans import TRACE_ID, export, sample_exports, span
from infra.local.trace_store import StoredTrace, TraceStore

KIB = 1024


def ids(traces: list[StoredTrace]) -> list[int]:
    return [int.from_bytes(trace.trace_id) for trace in traces]


def one_span(number: int, *, size: int = 1_000) -> ExportTraceServiceRequest:
    return export("order", "test", span("x" * size, "00f067aa0ba902b7", trace_id=f"{number:032x}"))


def test_spans_of_a_trace_are_kept_together_whoever_exports_them() -> None:
    """Three exports, two services, one trace."""
    store = TraceStore(1024 * KIB)
    for request in sample_exports():
        store.add(request)
    trace = store.get(bytes.fromhex(TRACE_ID))
    assert trace is not None
    names = {(origin.service, Span.FromString(raw).name) for origin, spans in trace.spans.items() for raw in spans}
    assert names == {
        ("gateway", "POST /v1/orders"),
        ("gateway", "PlaceOrder"),
        ("order", "PlaceOrder"),
        ("order", "INSERT orders"),
        ("order", "create order.events OrderPlaced"),
    }


def test_spans_of_the_same_process_share_their_origin() -> None:
    store = TraceStore(1024 * KIB)
    store.add(one_span(1))
    store.add(one_span(2))
    first, second = store.newest_first()
    assert next(iter(first.spans)) is next(iter(second.spans))


def test_beyond_its_bound_the_store_forgets_the_oldest_traces() -> None:
    store = TraceStore(10 * KIB)
    for number in range(1, 101):
        store.add(one_span(number))
    kept = ids(list(store.newest_first()))
    assert kept == list(range(100, 100 - len(kept), -1))
    # Each takes about 1.8 KB with what Python adds.
    assert 4 <= len(kept) <= 8
    assert store.get((1).to_bytes(16)) is None


def test_a_trace_is_forgotten_whole() -> None:
    """A span more in an old trace does not keep it from being the oldest, and none of its spans stays."""
    store = TraceStore(10 * KIB)
    for number in (1, 2, 1, 3):
        store.add(one_span(number))
    for number in range(4, 10):
        store.add(one_span(number))
    assert 1 not in ids(list(store.newest_first()))


def test_one_trace_greater_than_the_bound_is_kept() -> None:
    """The newest trace can always be read."""
    store = TraceStore(1 * KIB)
    store.add(one_span(1, size=5 * KIB))
    assert ids(list(store.newest_first())) == [1]
    store.add(one_span(2, size=5 * KIB))
    assert ids(list(store.newest_first())) == [2]


def test_what_was_read_does_not_change_when_spans_come() -> None:
    store = TraceStore(1024 * KIB)
    store.add(one_span(1))
    before = store.get((1).to_bytes(16))
    store.add(one_span(1))
    assert before is not None
    assert [len(spans) for spans in before.spans.values()] == [1]


def test_storing_a_span_costs_less_than_ten_microseconds() -> None:
    """Parse and store, in CPU time, for spans as long as the shop's."""
    attributes = {f"shop.attribute.{number}": "a value of ordinary length" for number in range(8)}
    spans = [span("a name", "00f067aa0ba902b7", trace_id=f"{n // 50:032x}", attributes=attributes) for n in range(500)]
    request = export("order", "chassis", *spans).SerializeToString()
    store = TraceStore(64 * 1024 * KIB)
    begin = time.process_time()
    for _ in range(20):
        store.add(ExportTraceServiceRequest.FromString(request))
    assert (time.process_time() - begin) / (20 * len(spans)) < 10e-6
