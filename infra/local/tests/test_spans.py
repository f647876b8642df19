"""Reading spans: what the query API gives, by whichever store."""

import json
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as StoredSpan

from infra.local.otlp_json import traces_json
from infra.local.spans import trace_spans
from infra.local.tests.sample_spans import export, sample_exports, span
from infra.local.trace_store import TraceStore

JAEGER = json.loads(Path(__file__).with_name("jaeger_answer.json").read_text())


def embedded() -> TraceStore:
    store = TraceStore(64 * 1024 * 1024)
    for request in sample_exports():
        store.add(request)
    return store


def test_kinds_are_words_by_both_stores() -> None:
    """A word for each kind; the other trace's only span has none."""
    spans = list(trace_spans(traces_json(embedded().newest_first())))
    assert {(found.service, found.name, found.kind) for found in spans} == {
        ("gateway", "POST /v1/orders", "SERVER"),
        ("gateway", "PlaceOrder", "CLIENT"),
        ("order", "PlaceOrder", "SERVER"),
        ("order", "INSERT orders", "CLIENT"),
        ("order", "create order.events OrderPlaced", "PRODUCER"),
        ("order", "relay", "UNSPECIFIED"),
    }
    by_jaeger = {found.id: found.kind for found in trace_spans(JAEGER)}
    assert by_jaeger
    assert by_jaeger.items() <= {found.id: found.kind for found in spans}.items()


@pytest.mark.parametrize("kind", [0, 6, 99])
def test_a_kind_that_nobody_knows_is_unspecified(kind: int) -> None:
    """Anybody may export anything, and no page may break by it."""
    store = TraceStore(64 * 1024 * 1024)
    stored = span("x", "00f067aa0ba902b7")
    stored.kind = kind  # pyright: ignore[reportAttributeAccessIssue] - an open enum, as on the wire
    store.add(export("order", "chassis", StoredSpan.FromString(stored.SerializeToString())))
    [found] = trace_spans(traces_json(store.newest_first()))
    assert found.kind == "UNSPECIFIED"
