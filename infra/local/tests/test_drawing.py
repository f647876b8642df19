"""What a terminal shows of an order: the timeline and the tree, on any width."""

import io
from datetime import datetime

import pytest
from rich.console import Console

from infra.local.drawing import WIDE, print_tree, short_name, timeline_line, timeline_table
from infra.local.otlp_json import traces_json
from infra.local.spans import Span, trace_spans
from infra.local.tests.sample_spans import OTHER_TRACE_ID, export, link, span, travelled
from infra.local.trace_store import TraceStore
from infra.local.trace_tree import LINES_MAX

PLACED = {"event": "shop.order.v1.OrderPlaced", "service": "order", "time": "2026-11-27T10:00:00Z", "status": "PENDING"}
PARKED = {
    "event": "shop.order.v1.Saga.Parked",
    "service": "order",
    "time": "2026-11-27T10:01:00.5Z",
    "status": "PENDING",
    "detail": "RELEASING_STOCK [again]",
}


def spans() -> list[Span]:
    store = TraceStore(64 * 1024 * 1024)
    for request in travelled():
        store.add(request)
    return list(trace_spans(traces_json(store.newest_first())))


def terminal(width: int, *, is_terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=None)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def tree(width: int, *, kind: str = "embedded") -> list[str]:
    console = terminal(width)
    print_tree(console, spans(), "containers" if kind == "containers" else "embedded")
    return shown(console).splitlines()


def test_a_narrow_terminal_shows_a_line_for_each_span_and_what_each_is_about() -> None:
    """At 60 columns nothing is wrapped; what a name says twice is left out, and the end is cut."""
    assert tree(60)[:7] == [
        " start   took ms  service    span",
        "     0      3     order      PlaceOrder",
        "     1      0     order      ├create OrderPlaced",
        "     4      2     order      │├send OrderPlaced  [waited 4 …",
        "     9      2     inventory  │└process OrderPlaced  [waited…",
        "    12      0     order      ├saga release_stock  [waited 1…",
        "    13      0     order      └saga release_stock  [waited 1…",
    ]


def test_a_wide_terminal_shows_the_columns_of_the_waits() -> None:
    """As the trace store's own pages do, with the whole names."""
    lines = tree(WIDE)
    assert lines[0] == " start ms   took ms  waited ms in            service    span"
    assert lines[4] == "      9.0       2.0      3.5 mock broker     inventory  │ └ process order.events OrderPlaced"


@pytest.mark.parametrize("width", [60, 200])
def test_the_waits_are_added_up(width: int) -> None:
    """In words below the tree, so that they are seen where the lines are cut."""
    text = " ".join(" ".join(tree(width)).split())
    assert (
        "Waited in all: 4 ms in outbox (1 span), 4 ms in mock broker (1 span), 2 ms in command outbox (2 spans)."
        in text
    )


def test_a_real_broker_is_called_kafka() -> None:
    """In containers it is one; nothing is said of a mock."""
    text = "\n".join(tree(200, kind="containers"))
    assert " 3.5 Kafka " in text
    assert "Kafka: from then until the consumer began." in text
    assert "mock" not in text


def test_what_a_link_leads_to_is_never_cut() -> None:
    """Its address has to be copied, however narrow the terminal is."""
    console = terminal(60)

    def page(trace_id: str) -> str:
        return f"http://127.0.0.1:16686/trace/{trace_id}"

    print_tree(console, spans(), "embedded", show=("links",), page=page)
    assert page(OTHER_TRACE_ID) in shown(console)


def test_a_file_gets_whole_lines() -> None:
    """It has no width at which to cut."""
    console = terminal(WIDE, is_terminal=False)
    store = TraceStore(64 * 1024 * 1024)
    store.add(export("order", "chassis", span("x" * 300, "00f067aa0ba902b7", links=[link("00f067aa0ba902b8")])))
    print_tree(console, trace_spans(traces_json(store.newest_first())), "embedded")
    assert "x" * 300 in shown(console)


def test_a_trace_without_end_is_not_drawn_to_its_end() -> None:
    """What is left out is counted."""
    console = terminal(WIDE)
    print_tree(console, spans() * LINES_MAX, "embedded")
    assert "5000 more spans are not drawn." in shown(console)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("process order.events OrderPlaced", "process OrderPlaced"),
        ("shop.order.v1.OrderService/PlaceOrder", "PlaceOrder"),
        ("POST /v1/orders", "POST /v1/orders"),
        ("INSERT orders", "INSERT orders"),
        ("saga heard StockReserved", "saga heard StockReserved"),
    ],
)
def test_a_short_name_leaves_out_what_the_rest_says(name: str, short: str) -> None:
    assert short_name(name) == short


def test_an_entry_of_a_timeline_says_how_long_after_the_first() -> None:
    """A detail is shown as it is, whatever brackets it has; what takes long is told in seconds."""
    console = terminal(120)
    console.print(timeline_table([PLACED, PARKED]))
    begin = datetime.fromisoformat(PLACED["time"])
    for entry in (PLACED, PARKED):
        console.print(timeline_line(entry, begin))
    lines = [" ".join(line.split()) for line in shown(console).splitlines()]
    placed, parked = "0 ms order OrderPlaced PENDING", "60.5 s order Parked PENDING RELEASING_STOCK [again]"
    assert lines == ["Steps", "after service event status", placed, parked, placed, parked]
