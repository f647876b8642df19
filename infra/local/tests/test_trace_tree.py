"""The drawing of a trace: who called whom, when, and where it waited."""

from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from infra.local.otlp_json import traces_json
from infra.local.tests.sample_spans import TRACE_ID, export, span
from infra.local.trace_store import TraceStore
from infra.local.trace_tree import trace_lines, trace_text

ROOT, CREATE, SEND, PROCESS, SAGA = (f"{number:016x}" for number in range(1, 6))


def answer_to(*exports: ExportTraceServiceRequest) -> dict[str, Any]:
    store = TraceStore(1024 * 1024)
    for request in exports:
        store.add(request)
    return traces_json(store.newest_first())


def travelled() -> list[ExportTraceServiceRequest]:
    """An event from its transaction through outbox and Kafka into the next service."""
    link = Span.Link(trace_id=bytes.fromhex(TRACE_ID), span_id=bytes.fromhex(CREATE))
    return [
        export(
            "inventory",
            "chassis",
            span("process order.events", PROCESS, CREATE, start_us=9_000, took_us=2_000, links=[link, link]),
        ),
        export(
            "order",
            "chassis",
            span("place_order", ROOT, took_us=3_000),
            span("create order.events", CREATE, ROOT, start_us=1_000, took_us=20),
            span(
                "send order.events",
                SEND,
                CREATE,
                start_us=4_000,
                took_us=1_500,
                links=[link],
                attributes={"shop.outbox.age_ms": 2.98},
            ),
            span(
                "saga release_stock",
                SAGA,
                ROOT,
                start_us=12_000,
                took_us=500,
                status=Status(code=Status.STATUS_CODE_ERROR, message="unavailable"),
                attributes={"shop.saga.direction": "compensate", "shop.saga.attempt": 2},
            ),
        ),
    ]


def test_a_trace_is_drawn_as_a_tree_with_times_and_waits() -> None:
    """The wait in the outbox stands at `send`, the one in Kafka at `process`."""
    assert trace_text(answer_to(*travelled())) == (
        " start ms   took ms  waited ms in  service    span\n"
        "      0.0       3.0                order      place_order\n"
        "      1.0       0.0                order      ├ create order.events\n"
        "      4.0       1.5    3.0 outbox  order      │ ├ send order.events  [1 link]\n"
        "      9.0       2.0    3.5 Kafka   inventory  │ └ process order.events  [2 links]\n"
        "     12.0       0.5                order      └ saga release_stock"
        "  [ERROR unavailable; compensation; attempt 2]\n"
    )


def test_a_consumer_quicker_than_the_acknowledgement_did_not_wait() -> None:
    spans = [
        span("create t", CREATE),
        span("send t", SEND, CREATE, start_us=10, took_us=100),
        span("process t", PROCESS, CREATE, start_us=50),
    ]
    [line] = [line for line in trace_lines(answer_to(export("order", "chassis", *spans))) if line.name == "process t"]
    assert line.wait.split() == ["0.0", "Kafka"]


def test_a_message_sent_twice_waited_since_the_last_time() -> None:
    spans = [
        span("create t", CREATE),
        span("send t", SEND, CREATE, start_us=1_000, took_us=1_000),
        span("send t", SAGA, CREATE, start_us=5_000, took_us=1_000),
        span("process t", PROCESS, CREATE, start_us=8_000),
    ]
    [line] = [line for line in trace_lines(answer_to(export("order", "chassis", *spans))) if line.name == "process t"]
    assert line.wait.split() == ["2.0", "Kafka"]


def test_a_span_without_its_parent_is_drawn_at_the_top_and_says_so() -> None:
    """A trace with a hole must not hide what hangs below the hole."""
    spans = [span("root", ROOT), span("lost", SEND, CREATE, start_us=5), span("below", PROCESS, SEND, start_us=6)]
    lines = trace_lines(answer_to(export("order", "chassis", *spans)))
    assert [(line.guide, line.name, line.notes) for line in lines] == [
        ("", "root", ()),
        ("", "lost", ("its parent is not in this trace",)),
        ("└ ", "below", ()),
    ]


def test_a_duplicate_is_noted() -> None:
    duplicate = span("process t", PROCESS, attributes={"shop.inbox.outcome": "duplicate"})
    [line] = trace_lines(answer_to(export("order", "chassis", duplicate)))
    assert line.notes == ("duplicate",)


def test_an_empty_answer_draws_nothing() -> None:
    assert trace_lines({"result": {"resourceSpans": []}}) == []
