"""Traces at the edge of the system."""

from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from opentelemetry.baggage import get_all, set_baggage
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import Receive, Scope, Send

from chassis.testing import eventually
from gateway.boundary import TrustBoundary
from gateway.tests.upstream import UNKNOWN_ORDER, Upstream

Body = Callable[..., dict[str, Any]]

CALLER_TRACE, CALLER_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {
    "traceparent": f"00-{CALLER_TRACE}-{CALLER_SPAN}-01",
    "tracestate": "vendor=1",
    "baggage": "user=eve,shop.order.id=forged",
}


def server_span(spans: InMemorySpanExporter) -> ReadableSpan:
    """The gateway's own span: the one without a parent."""
    (found,) = [span for span in spans.get_finished_spans() if span.kind is SpanKind.SERVER and span.parent is None]
    return found


async def all_ended(spans: InMemorySpanExporter) -> Sequence[ReadableSpan]:
    """The three spans of a call; the service's own may end a moment behind the answer."""
    await eventually(lambda: len(spans.get_finished_spans()) == 3)
    return spans.get_finished_spans()


async def test_an_order_is_one_trace_from_its_request_on(
    client: httpx.AsyncClient, spans: InMemorySpanExporter, order: Body
) -> None:
    placed = (await client.post("/v1/orders", json=order())).json()

    root = server_span(spans)
    assert root.name == "POST /v1/orders"
    assert root.context is not None
    assert placed["traceId"] == f"{root.context.trace_id:032x}"
    await all_ended(spans)
    kinds = {(span.kind, span.name) for span in spans.get_finished_spans()}
    assert kinds == {
        (SpanKind.SERVER, "POST /v1/orders"),
        (SpanKind.CLIENT, "shop.order.v1.OrderService/PlaceOrder"),
        (SpanKind.SERVER, "shop.order.v1.OrderService/PlaceOrder"),
    }
    assert len({span.context.trace_id for span in spans.get_finished_spans() if span.context}) == 1


async def test_the_server_span_follows_the_conventions_and_names_the_order(
    client: httpx.AsyncClient, spans: InMemorySpanExporter, order: Body
) -> None:
    placed = (await client.post("/v1/orders", json=order())).json()

    attributes = dict(server_span(spans).attributes or {})
    assert attributes["http.request.method"] == "POST"
    assert attributes["http.route"] == "/v1/orders"
    assert attributes["http.response.status_code"] == 202
    assert attributes["shop.order.id"] == placed["orderId"]
    assert not [name for name, value in attributes.items() if "ada" in str(value) or "tok_" in str(value)]


async def test_the_order_of_the_path_is_on_every_span_even_when_it_is_unknown(
    client: httpx.AsyncClient, spans: InMemorySpanExporter
) -> None:
    await client.get(f"/v1/orders/{UNKNOWN_ORDER}/timeline")

    found = await all_ended(spans)
    assert [(span.attributes or {}).get("shop.order.id") for span in found] == [UNKNOWN_ORDER] * 3
    assert server_span(spans).name == "GET /v1/orders/{order_id}/timeline"
    # A caller's mistake is no fault of the server.
    assert server_span(spans).status.status_code is StatusCode.UNSET


async def test_a_callers_trace_is_linked_to_and_not_joined(
    client: httpx.AsyncClient, spans: InMemorySpanExporter, upstream: Upstream, order: Body
) -> None:
    answer = await client.post("/v1/orders", json=order(), headers=CALLER)

    root = server_span(spans)
    assert root.context is not None
    assert f"{root.context.trace_id:032x}" != CALLER_TRACE
    assert [(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for link in root.links] == [
        (CALLER_TRACE, CALLER_SPAN)
    ]
    assert answer.json()["traceId"] != CALLER_TRACE
    (sent,) = upstream.metadata
    assert "baggage" not in sent
    assert "tracestate" not in sent
    assert CALLER_TRACE not in sent["traceparent"]


@pytest.mark.parametrize("traceparent", ["nonsense", "00-0-0-01", "\u00ff"])
async def test_a_callers_broken_context_is_ignored(
    client: httpx.AsyncClient, spans: InMemorySpanExporter, order: Body, traceparent: str
) -> None:
    headers = {b"traceparent": traceparent.encode("latin-1")}

    assert (await client.post("/v1/orders", json=order(), headers=headers)).status_code == 202
    assert not server_span(spans).links


async def test_a_callers_sampling_is_not_ours(
    client: httpx.AsyncClient, spans: InMemorySpanExporter, order: Body
) -> None:
    headers = {"traceparent": f"00-{CALLER_TRACE}-{CALLER_SPAN}-00"}

    await client.post("/v1/orders", json=order(), headers=headers)

    await all_ended(spans)


async def test_a_query_leaves_its_names_on_the_span_but_not_its_values(
    client: httpx.AsyncClient, spans: InMemorySpanExporter
) -> None:
    await client.get("/v1/orders?customer_id=ada&page_size=3")

    attributes = dict(server_span(spans).attributes or {})
    assert attributes["url.query"] == "customer_id=REDACTED&page_size=REDACTED"
    assert not [name for name, value in attributes.items() if "ada" in str(value)]


async def test_requests_on_one_connection_have_traces_of_their_own(
    served: httpx.AsyncClient, spans: InMemorySpanExporter
) -> None:
    for _ in range(3):
        await served.get("/v1/stock/espresso-beans")

    traces = {span.context.trace_id for span in spans.get_finished_spans() if span.context}
    assert len(traces) == 3


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/docs/assets/swagger-ui.css", "/openapi.json"])
async def test_what_is_no_work_is_not_traced(client: httpx.AsyncClient, spans: InMemorySpanExporter, path: str) -> None:
    assert (await client.get(path)).status_code == 200

    assert spans.get_finished_spans() == ()


async def test_a_problem_names_its_trace(client: httpx.AsyncClient, spans: InMemorySpanExporter) -> None:
    problem = (await client.get("/nowhere")).json()

    root = server_span(spans)
    assert root.context is not None
    assert problem["traceId"] == f"{root.context.trace_id:032x}"


async def test_nothing_of_a_callers_context_comes_inside() -> None:
    """Whatever is inside, now or later, sees neither the headers nor a span or baggage that was there before."""
    seen: list[Any] = []

    async def inside(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.extend([name for name, _ in scope["headers"]])
        seen.append(dict(get_all()))

    headers = [(name.encode(), value.encode()) for name, value in {**CALLER, "accept": "*/*"}.items()]
    scope: Scope = {"type": "http", "raw_path": b"/", "query_string": b"", "headers": headers}
    token = attach(set_baggage("user", "eve"))
    try:
        await TrustBoundary(inside, 1_000)(scope, _unused, _unused)
    finally:
        detach(token)

    assert seen == [b"accept", {}]


async def test_a_server_that_does_not_tell_the_raw_path_is_enough() -> None:
    seen: list[bytes] = []

    async def inside(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["raw_path"])

    scope: Scope = {"type": "http", "path": "/v1/stock/caf\u00e9 50%:restock", "query_string": b"", "headers": []}
    await TrustBoundary(inside, 1_000)(scope, _unused, _unused)

    assert seen == [b"/v1/stock/caf%C3%A9%2050%25:restock"]


async def _unused(*_: Any) -> Any:
    raise AssertionError("nothing is received or sent")
