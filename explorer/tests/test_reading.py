"""The API as the page reads it: the same answers by the same endpoints, and no span of it anywhere."""

import asyncio
import itertools
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from shop.order.v1 import order_pb2

from chassis.testing import eventually
from gateway.settings import GatewaySettings
from gateway.tests.upstream import UNKNOWN_ORDER, Upstream

PATHS = [
    "/v1/orders",
    "/v1/orders?customerId=ada",
    "/v1/orders/ORDER_ID",
    "/v1/orders/ORDER_ID/timeline",
    "/v1/orders/ORDER_ID:watch",
    "/v1/payments/ORDER_ID",
    "/v1/stock",
    "/v1/stock/espresso-beans",
]


def told(answer: httpx.Response) -> tuple[Any, ...]:
    """What an answer says; a payment's id is made for each."""
    body = answer.text if "paymentId" not in answer.text else answer.json()["state"]
    return answer.status_code, answer.headers["content-type"], answer.headers["cache-control"], body


@pytest.mark.parametrize("path", PATHS)
async def test_the_page_reads_what_everybody_reads_and_leaves_no_trace(
    client: httpx.AsyncClient, upstream: Upstream, spans: InMemorySpanExporter, path: str
) -> None:
    """Neither the gateway nor a service records a span, where the same question to the API leaves some of both."""
    order_id = upstream.place()
    upstream.timelines[order_id] = [order_pb2.TimelineEntry(position=1, event="shop.order.v1.OrderPlaced")]
    path = path.replace("ORDER_ID", order_id)

    read = await client.get(f"/explorer{path}")

    assert read.status_code == 200
    assert told(read) == told(await client.get(path))
    await eventually(lambda: len(spans.get_finished_spans()) >= 3)
    # All that there is belongs to the second question.
    assert len({span.context.trace_id for span in spans.get_finished_spans() if span.context}) == 1
    assert len(spans.get_finished_spans()) == 3


async def test_a_stream_is_relayed_while_it_grows_and_leaves_no_trace(
    served: httpx.AsyncClient, upstream: Upstream, spans: InMemorySpanExporter
) -> None:
    """The page follows an order by server-sent events."""
    order_id, upstream.watch_stays_open = upstream.place(), True
    headers = {"accept": "text/event-stream"}
    async with served.stream("GET", f"/explorer/v1/orders/{order_id}:watch", headers=headers) as stream:
        lines = stream.aiter_lines()
        upstream.timelines[order_id] = [order_pb2.TimelineEntry(position=1, event="shop.order.v1.OrderPlaced")]
        upstream.more_entries.set()
        async with asyncio.timeout(5):
            while "OrderPlaced" not in await anext(lines):
                pass
    await asyncio.wait_for(upstream.watch_ended.wait(), 5)
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("path", "status"),
    [(f"/v1/orders/{UNKNOWN_ORDER}", 404), ("/v1/orders/nonsense", 400), ("/v1/nothing", 404), ("/v2/orders", 404)],
)
async def test_what_is_refused_is_a_problem_that_names_no_trace(
    client: httpx.AsyncClient, spans: InMemorySpanExporter, path: str, status: int
) -> None:
    """There is none that it could name."""
    answer = await client.get(f"/explorer{path}")

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert "traceId" not in answer.json()
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_nothing_can_be_done_without_a_trace(client: httpx.AsyncClient, upstream: Upstream, method: str) -> None:
    """The paths below `/explorer` only read."""
    for path in ("/explorer/v1/orders", f"/explorer/v1/orders/{upstream.place()}:cancel"):
        answer = await client.request(method, path, json={})
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    # A verb of POST alone cannot be had by GET either.
    assert (await client.get(f"/explorer/v1/orders/{upstream.place()}:cancel")).status_code == 405
    assert upstream.requests == []


async def test_a_head_is_answered_as_the_api_does(client: httpx.AsyncClient, upstream: Upstream) -> None:
    """Of what can be read whole, the head can be read alone."""
    order_id = upstream.place()

    answer = await client.head(f"/explorer/v1/orders/{order_id}")

    assert answer.status_code == 200
    assert (await client.head(f"/explorer/v1/orders/{order_id}:watch")).status_code == 405


async def test_what_the_page_asks_counts_as_what_everybody_asks(
    client: httpx.AsyncClient, upstream: Upstream, settings: GatewaySettings
) -> None:
    """So many requests are in hand at once, whoever asks."""
    order_id, answered, inside = upstream.place(), asyncio.Event(), asyncio.Semaphore(0)

    async def wait(_context: Any) -> None:
        inside.release()
        await answered.wait()

    upstream.before["GetOrder"] = wait
    prefixes = itertools.islice(itertools.cycle(["", "/explorer"]), settings.calls_max)
    waiting = [asyncio.create_task(client.get(f"{prefix}/v1/orders/{order_id}")) for prefix in prefixes]
    async with asyncio.timeout(5):
        for _ in range(settings.calls_max):
            await inside.acquire()
    for prefix in ("", "/explorer"):
        answer = await client.get(f"{prefix}/v1/orders/{order_id}")
        assert (answer.status_code, answer.json()["reason"]) == (503, "GATEWAY_BUSY")
    answered.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
