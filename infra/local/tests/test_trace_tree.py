"""The drawing of a trace: who called whom, when, where it waited, and what tells a span from others of its name."""

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from infra.local import span_details
from infra.local.otlp_json import traces_json
from infra.local.spans import trace_spans
from infra.local.tests.sample_spans import (
    CREATE,
    OTHER_TRACE_ID,
    PROCESS,
    ROOT,
    SAGA,
    SEND,
    TRACE_ID,
    export,
    link,
    span,
    travelled,
)
from infra.local.trace_store import TraceStore
from infra.local.trace_text import tree_text
from infra.local.trace_tree import LINES_MAX, Line, Wait, legend, trace_lines

URL = "http://127.0.0.1:16686"


def lines_of(*exports: ExportTraceServiceRequest, show: tuple[str, ...] = ()) -> list[Line]:
    store = TraceStore(64 * 1024 * 1024)
    for request in exports:
        store.add(request)
    return trace_lines(trace_spans(traces_json(store.newest_first())), show)


def lines_of_order(*spans: Span, show: tuple[str, ...] = ()) -> list[Line]:
    return lines_of(export("order", "chassis", *spans), show=show)


def test_a_trace_is_drawn_as_a_tree_with_times_and_waits() -> None:
    """The waits are what the spans say: in the outbox at `send`, at the broker at `process`, which is a mock here."""
    lines = lines_of(*travelled())
    assert tree_text(lines, 6, URL, TRACE_ID, ()) == (
        " start ms   took ms  waited ms in            service    span\n"
        "      0.0       3.0                          order      PlaceOrder\n"
        "      1.0       0.0                          order      ├ create order.events OrderPlaced\n"
        "      4.0       1.5      4.5 outbox          order      │ ├ send order.events OrderPlaced\n"
        "      9.0       2.0      3.5 mock broker     inventory  │ └ process order.events OrderPlaced\n"
        "     12.0       0.5      1.0 command outbox  order      ├ saga release_stock"
        "  [ERROR UNAVAILABLE; compensation; try 1]\n"
        "     13.0       0.5      1.0 command outbox  order      └ saga release_stock  [compensation; try 2]\n"
        "\n"
        "outbox: from the promise, which is the event's row, until the broker had the message.\n"
        "mock broker: from then until the consumer began. It stands in for Kafka here, and holds a fetch for up to"
        " 100 ms; a real broker adds a few milliseconds.\n"
        "command outbox: from the saga's decision until this try of the call.\n"
        f"More of each span: curl '{URL}/trace/{TRACE_ID}?show=links,attributes,events'\n"
        f"Other orders: curl {URL}/\n"
    )


def test_what_the_drawing_does_not_show_needs_no_legend() -> None:
    [line] = lines_of_order(span("send t E", SEND, attributes={"shop.outbox.age_ms": 0.0}))
    assert line.wait == Wait(0.0, "outbox")
    assert [sentence.split(":")[0] for sentence in legend([line])] == ["outbox"]
    assert legend(lines_of_order(span("create t E", CREATE, attributes={"shop.batch.messages": 1}))) == []
    [sentence] = legend(lines_of_order(span("process t E", PROCESS, attributes={"shop.batch.messages": 2})))
    assert sentence.startswith("batch of N: ")


def test_a_wait_that_is_no_number_is_none() -> None:
    """Any program may send spans to the store."""
    [line] = lines_of_order(span("send t E", SEND, attributes={"shop.outbox.age_ms": "long"}))
    assert line.wait is None


def test_what_a_span_links_to_is_named_and_its_address_given() -> None:
    """Below its line, on demand: a target in this trace by its name, one in another trace with that trace's address."""
    lines = lines_of(*travelled(), show=("links",))
    drawn = tree_text(lines, 6, URL, TRACE_ID, ("links",)).splitlines()
    [process] = [number for number, line in enumerate(drawn) if "process order.events" in line]
    assert [line.split("│")[1].strip() for line in drawn[process + 1 : process + 3]] == [
        "link to create order.events OrderPlaced (order), in this trace",
        f"link to span {ROOT}, which is not here, in {URL}/trace/{OTHER_TRACE_ID}",
    ]


def test_attributes_and_events_stand_below_their_span_ours_first() -> None:
    event = Span.Event(time_unix_nano=0, name="noted", attributes=[])
    [line] = lines_of_order(
        span(
            "a",
            ROOT,
            attributes={"code.line.number": 7, "shop.batch.statements": ["INSERT inbox", "x"]},
            events=[event],
        ),
        show=("attributes",),
    )
    assert [detail.text for detail in line.details] == [
        "shop.batch.statements = INSERT inbox, x",
        "code.line.number = 7",
    ]
    begin = line.span.start
    event = Span.Event(time_unix_nano=begin + 2_000_000, name="noted")
    [line] = lines_of_order(span("a", ROOT, events=[event]), show=("events",))
    assert [detail.text for detail in line.details] == ["event noted after 2.0 ms"]


@pytest.mark.parametrize(
    ("attributes", "failed", "notes"),
    [
        ({"shop.command.try": 1, "shop.saga.attempt": 1}, False, ()),
        ({"shop.command.try": 1, "shop.saga.attempt": 2}, True, ("attempt 2", "try 1")),
        ({"shop.command.try": 3, "shop.saga.attempt": 2}, False, ("attempt 2", "try 3")),
        ({"shop.command.probe": True}, True, ("probe",)),
        ({"shop.payment.attempt": 1}, True, ("try 1",)),
        ({"shop.payment.attempt": 2}, False, ("try 2",)),
        ({"shop.saga.direction": "forward"}, False, ()),
        ({"shop.saga.direction": "compensate"}, False, ("compensation",)),
        ({"shop.inbox.outcome": "applied"}, False, ()),
        ({"shop.inbox.outcome": "duplicate"}, False, ("duplicate",)),
        ({"shop.batch.messages": 1}, False, ()),
        ({"shop.batch.messages": 3, "shop.batch.statements": ["INSERT inbox"]}, False, ("batch of 3: INSERT inbox",)),
        ({"shop.batch.messages": 3}, False, ("batch of 3",)),
        ({"shop.refusal": "NO_SUCH_ORDER"}, False, ("refused: NO_SUCH_ORDER",)),
        ({"shop.saga.facts": ["TurnedBack: NO_STOCK", "HeldBack: x"]}, False, ("TurnedBack: NO_STOCK, HeldBack: x",)),
    ],
)  # fmt: skip
def test_what_tells_a_span_from_others_of_its_name_is_noted(
    attributes: dict[str, Any], failed: bool, notes: tuple[str, ...]
) -> None:
    """A try that failed and its repeat, what is undone, what came twice, what shared statements, what was refused."""
    status = Status(code=Status.STATUS_CODE_ERROR) if failed else None
    [line] = lines_of_order(span("saga charge_payment", SAGA, attributes=attributes, status=status))
    assert line.notes == notes


@pytest.mark.parametrize(
    ("message", "attributes", "remarks"),
    [("gone", {"error.type": "503"}, "ERROR gone"), ("", {"error.type": "503"}, "ERROR 503"), ("", {}, "ERROR")],
)
def test_a_failed_span_says_why_as_far_as_it_knows(message: str, attributes: dict[str, str], remarks: str) -> None:
    status = Status(code=Status.STATUS_CODE_ERROR, message=message)
    [line] = lines_of_order(span("POST /charges", ROOT, attributes=attributes, status=status))
    assert line.remarks == remarks


def test_a_span_without_its_parent_is_drawn_at_the_top_and_says_so() -> None:
    """A trace with a hole must not hide what hangs below the hole."""
    lines = lines_of_order(span("root", ROOT), span("lost", SEND, CREATE, start_us=5), span("below", PROCESS, SEND))
    assert [(line.guide, line.span.name, line.notes) for line in lines] == [
        ("", "root", ()),
        ("", "lost", ("its parent is not in this trace",)),
        ("└ ", "below", ()),
    ]


def test_an_empty_answer_draws_nothing() -> None:
    assert trace_lines([]) == []


def test_of_a_trace_without_end_only_the_beginning_is_drawn_and_the_rest_counted() -> None:
    """One that is as deep as it is long does not exhaust the drawing either."""
    ids = [f"{number:016x}" for number in range(1, LINES_MAX + 102)]
    lines = lines_of_order(*(span("s", own, parent) for parent, own in zip(["", *ids], ids, strict=False)))
    assert len(lines) == LINES_MAX
    assert "\n101 more spans are not drawn.\n" in tree_text(lines, len(ids), URL, TRACE_ID, ())


def test_of_many_or_long_details_the_rest_is_counted_or_cut() -> None:
    """A round of the relay may link to a thousand orders."""
    links = [link(ROOT, f"{number:032x}") for number in range(1, 1001)]
    [line] = lines_of_order(
        span("relay outbox", SEND, links=links, attributes={"a": "x" * 10_000}), show=("links", "attributes")
    )
    assert line.details[-2].text == "and 950 more links"
    assert line.details[-1].text.endswith("x…")
    assert len(line.details) == 52
    assert len(line.details[-1].text) < 400


def test_a_terminal_is_told_nothing_by_what_a_span_says() -> None:
    """Names, values and messages stand on one line, without control characters."""
    broken = "two\nlines\x1b[2J"
    failed = Status(code=Status.STATUS_CODE_ERROR, message=broken)
    lines = lines_of_order(span(broken, ROOT, attributes={broken: broken}, status=failed), show=span_details.KINDS)
    drawn = tree_text(lines, 1, URL, TRACE_ID, span_details.KINDS)
    assert "\x1b" not in drawn
    assert drawn.count("two lines\N{REPLACEMENT CHARACTER}[2J") == 4
