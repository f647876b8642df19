"""Traces: contexts that survive storage, spans that vanish with a rollback, attributes that lead to the source."""

import pytest
from opentelemetry.trace import SpanKind, get_current_span

from chassis import telemetry
from chassis.committed_spans import hold
from chassis.telemetry import TraceContext
from chassis.testing import Spans, attributes, context, is_child, linked, traceparent


def test_a_stored_context_is_the_parent_of_what_is_done_later(spans: Spans) -> None:
    """What a row keeps is enough to continue the trace and to link to it, the vendor's part included."""
    with telemetry.span("born"):
        stored = telemetry.store()
    stored = stored._replace(tracestate="vendor=1")
    with telemetry.span("later", parent=telemetry.restore(stored), links=telemetry.link(stored)) as later:
        assert telemetry.store(later).tracestate == "vendor=1"
    assert stored.traceparent == traceparent(spans.one("born"))
    assert is_child(spans.one("later"), spans.one("born"))
    assert linked(spans.one("later")) == {context(spans.one("born")).span_id}


def test_no_stored_context_begins_a_new_trace(spans: Spans) -> None:
    """Nothing stored, or nonsense: no parent and no link, never an error."""
    for stored in (TraceContext(), TraceContext("nonsense")):
        assert telemetry.link(stored) == []
        with telemetry.span("outer"), telemetry.span("alone", parent=telemetry.restore(stored)):
            pass
    assert [span.parent for span in spans.named("alone")] == [None, None]


def test_the_spans_of_a_rolled_back_attempt_vanish(spans: Spans) -> None:
    """What raises takes its spans along, also from within an outer attempt that succeeds."""
    with hold():
        with telemetry.span("kept"):
            pass
        assert spans.all() == ()
        with pytest.raises(LookupError), hold():
            with telemetry.span("dropped"):
                pass
            raise LookupError
    assert [span.name for span in spans.all()] == ["kept"]


def test_everything_about_an_order_carries_its_id(spans: Spans) -> None:
    """The id is on every span opened inside, and on none outside."""
    with telemetry.about_order("order-1"), telemetry.span("inside", SpanKind.CLIENT, {"a": 1}):
        pass
    with telemetry.span("outside"):
        pass
    assert attributes(spans.one("inside")) == {"shop.order.id": "order-1", "a": 1}
    assert attributes(spans.one("outside")) == {}


def test_what_is_unrecorded_leaves_no_span(spans: Spans) -> None:
    """A poll that finds nothing is not worth a trace."""
    with telemetry.unrecorded(), telemetry.span("poll"):
        assert not get_current_span().is_recording()
    assert spans.all() == ()


def test_an_error_is_the_status_of_its_span(spans: Spans) -> None:
    """Whoever reads the trace sees what failed, and the error goes on."""
    with pytest.raises(LookupError), telemetry.span("failing"):
        raise LookupError("gone")
    assert attributes(spans.one("failing"))["error.type"] == "LookupError"
    assert spans.one("failing").status.description == "gone"
