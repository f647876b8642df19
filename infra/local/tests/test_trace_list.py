"""The list of traces: orders first, and of each what tells it from the others."""

from collections.abc import Iterable
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from infra.local.tests.sample_spans import BEGIN_NS, export, span
from infra.local.trace_list import Summary, newest
from infra.local.trace_store import TraceStore
from infra.local.trace_text import list_text

URL = "http://127.0.0.1:16686"


def trace_id(number: int) -> str:
    return f"{number:032x}"


def placed(number: int, *events: str, name: str = "POST /v1/orders", has_order: bool = True) -> list[Span]:
    """An order's trace as the store gets it: the root last, for it ends after what it has begun."""
    about = {"shop.order.id": f"order-{number}"} if has_order else {}
    within: dict[str, Any] = {"trace_id": trace_id(number), "attributes": about}
    begin = number * 1_000_000
    return [
        *(
            span(f"create {event}", f"{9 + step:016x}", f"{1:016x}", start_us=begin + step, **within)
            for step, event in enumerate(events)
        ),
        span(name, f"{1:016x}", kind=Span.SPAN_KIND_SERVER, start_us=begin, took_us=2_500, **within),
    ]


def listed(exports: Iterable[ExportTraceServiceRequest], *, every: bool = False, limit: int = 50) -> list[Summary]:
    store = TraceStore(64 * 1024 * 1024)
    for request in exports:
        store.add(request)
    return newest(store.newest_first(), every=every, limit=limit)


def test_an_order_is_listed_with_what_became_of_it() -> None:
    """Its request, its id, its own last event, the services in the order in which they came, what failed."""
    spans = placed(1, "order.events OrderPlaced", "inventory.events StockReserved", "order.events OrderRejected")
    charged = span(
        "charge card",
        f"{7:016x}",
        f"{1:016x}",
        start_us=1_000_005,
        took_us=9_995,
        trace_id=trace_id(1),
        status=Status(code=Status.STATUS_CODE_ERROR),
    )
    [found] = listed([export("payment", "chassis", charged), export("gateway", "chassis", *spans)])
    assert found.trace_id == trace_id(1)
    assert found.began.timestamp() == BEGIN_NS / 10**9 + 1
    assert found == Summary(
        trace_id=trace_id(1),
        began=found.began,
        took_ms=10.0,
        name="POST /v1/orders",
        order_id="order-1",
        last_event="OrderRejected",
        services=("gateway", "payment"),
        spans=5,
        failed=1,
    )


@pytest.mark.parametrize(
    ("trace", "is_of_order"),
    [
        (placed(1), True),
        (placed(1, name="POST /v1/orders/{order_id}:cancel"), True),
        (placed(1, name="shop.order.v1.OrderService/RetrySaga"), True),
        # Refused before there was an order.
        (placed(1, has_order=False), True),
        (placed(1, name="GET /v1/orders/{order_id}"), False),
        (placed(1, name="shop.order.v1.OrderService/GetOrderTimeline"), False),
        (placed(1, name="POST /v1/stock/{sku}:restock", has_order=False), False),
        ([span("relay outbox", f"{1:016x}", trace_id=trace_id(1))], False),
        ([span("process order.events OrderPlaced", f"{1:016x}", kind=Span.SPAN_KIND_CONSUMER, trace_id=trace_id(1),
               attributes={"shop.order.id": "order-1"})], False),
    ],
)  # fmt: skip
def test_a_trace_is_an_orders_when_a_request_did_something_for_one(trace: list[Span], is_of_order: bool) -> None:
    """Reads, polls and other articles are left out, and come with every trace."""
    exports = [export("gateway", "chassis", *trace)]
    assert len(listed(exports)) == is_of_order
    assert len(listed(exports, every=True)) == 1


def test_thousands_of_small_traces_drown_no_order_and_the_newest_come_first() -> None:
    exports = [export("gateway", "chassis", *placed(number)) for number in range(1, 8)]
    polls = [span("poll order.events", f"{1:016x}", trace_id=trace_id(number)) for number in range(100, 3_100)]
    found = listed([*exports, export("order", "chassis", *polls)], limit=5)
    assert [summary.order_id for summary in found] == [f"order-{number}" for number in (7, 6, 5, 4, 3)]


def test_a_trace_of_several_orders_names_none() -> None:
    several = [
        span("INSERT inbox", f"{number:016x}", trace_id=trace_id(1), attributes={"shop.order.id": f"order-{number}"})
        for number in (1, 2)
    ]
    [found] = listed([export("order", "chassis", *several)], every=True)
    assert (found.name, found.order_id) == ("INSERT inbox", "")


def test_the_list_as_text_gives_each_address_in_full() -> None:
    """Two lines for each trace, the second with its address and its order, so that either finds the other."""
    exports = [
        export("gateway", "chassis", *placed(1, "order.events OrderConfirmed")),
        export("gateway", "chassis", *placed(2, name="POST /v1/orders/{order_id}:cancel")),
    ]
    text = list_text(listed(exports), URL, every=False).splitlines()
    began = [line.split("  ")[0] for line in text]
    assert text == [
        "Traces of orders, the newest first",
        "",
        f"{began[2]}  POST /v1/orders/{{order_id}}:cancel                       2.5 ms    1 span   gateway",
        f"    {URL}/trace/{trace_id(2)}  order order-2",
        f"{began[4]}  POST /v1/orders                    OrderConfirmed       2.5 ms    2 spans  gateway",
        f"    {URL}/trace/{trace_id(1)}  order order-1",
        "",
        f"Every trace, those of polls and reads too: curl '{URL}/?all=1'",
    ]


def test_an_empty_list_says_so() -> None:
    assert "None is among the newest" in list_text([], URL, every=False)
