"""Traces on their way to the page: as the store tells them, and the reason where it has nothing to tell."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from aiohttp import web
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from catalogue import LATER
from explorer.client import BYTES_MAX, Client
from explorer.tests.slow_server import serving
from gateway.app import create_app
from gateway.settings import GatewaySettings
from infra.jaeger.tests.container import Jaeger
from infra.local.tests.sample_spans import TRACE_ID, export, sample_exports, span
from infra.local.trace_api import TraceApi

ORDER_ID = "0198d8c4-0000-7000-8000-000000000001"
OWN, REPEATED, CANCELLED, BY_HAND, OTHER, ROUND = (f"{number:032x}" for number in range(1, 7))
# Before the spans of the tests.
SINCE = quote("2026-11-23T08:48:20Z")
AGAIN, CANCEL, _, _, _, _, REFUND = LATER


def exports() -> list[Any]:
    """What the services send of an order that was placed twice, cancelled, refunded by hand, and of another one."""

    def began(trace_id: str, what: tuple[str, str, str], start_us: int, order_id: str = ORDER_ID) -> Any:
        service, name, _ = what
        asked = span(
            name,
            "00f067aa0ba902b7",
            trace_id=trace_id,
            start_us=start_us,
            kind=Span.SPAN_KIND_SERVER,
            attributes={"shop.order.id": order_id},
        )
        # It ends later, so that its trace would come last if it were sorted by its newest span.
        end = span("later", "00f067aa0ba902b8", "00f067aa0ba902b7", trace_id=trace_id, start_us=9 * 10**6 - start_us)
        return export(service, "shop", asked, end)

    return [
        began(BY_HAND, REFUND, 4_000_000),
        began(OWN, AGAIN, 1_000_000),
        began(CANCELLED, CANCEL, 3_000_000),
        began(REPEATED, AGAIN, 2_000_000),
        # The saga's own calls stand in the order's trace; it is listed once.
        began(OWN, REFUND, 1_500_000),
        began(OTHER, CANCEL, 3_000_000, "0198d8c4-0000-7000-8000-000000000002"),
        began(ROUND, ("order", "relay outbox", ""), 3_000_000),
    ]


FOUND = [
    {"traceId": OWN, "title": "the repeated POST"},
    {"traceId": REPEATED, "title": "the repeated POST"},
    {"traceId": CANCELLED, "title": "the cancel"},
    {"traceId": BY_HAND, "title": "a RefundPayment by hand"},
]


@asynccontextmanager
async def _asked(settings: GatewaySettings) -> AsyncGenerator[httpx.AsyncClient]:
    """A gateway with these settings, and no service behind it."""
    async with Client() as client:
        app = create_app(settings, {}, asyncio.Event(), client)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as requests:
            yield requests


async def test_a_trace_comes_as_the_store_tells_it(client: httpx.AsyncClient, store: TraceApi) -> None:
    """Byte for byte, as JSON, and only for now: it may grow."""
    for request in sample_exports():
        store.store.add(request)

    answer = await client.get(f"/explorer/traces/{TRACE_ID}")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "no-store"
    async with httpx.AsyncClient() as direct:
        told = await direct.get(f"{store.url}/api/v3/traces/{TRACE_ID}")
    assert answer.content == told.content


@pytest.mark.parametrize(
    ("changed", "trace_id", "status", "reason"),
    [
        ({}, "f" * 32, 404, "TRACE_NOT_THERE"),
        ({"trace_sample_ratio": 0.5}, "f" * 32, 404, "TRACE_NOT_SAMPLED"),
        ({"trace_sample_ratio": 0.5}, f"{'f' * 16}{'0' * 15}1", 404, "TRACE_NOT_THERE"),
        ({"trace_sample_ratio": 0.0}, "f" * 32, 404, "TRACE_NOT_SAMPLED"),
        ({"otel_exporter_otlp_endpoint": ""}, "f" * 32, 404, "TRACES_NOT_EXPORTED"),
        ({"trace_store_url": "NOBODY"}, "f" * 32, 503, "TRACE_STORE_AWAY"),
        # Who has nowhere to send spans to may have no store either; that it is away says less.
        ({"trace_store_url": "NOBODY", "otel_exporter_otlp_endpoint": ""}, "f" * 32, 404, "TRACES_NOT_EXPORTED"),
        ({"trace_store_url": "NOBODY", "trace_sample_ratio": 0.0}, "f" * 32, 404, "TRACE_NOT_SAMPLED"),
        ({}, "F" * 32, 400, "INVALID"),
        ({}, "f" * 31, 400, "INVALID"),
        ({}, "..%3Fx", 400, "INVALID"),
    ],
)
async def test_why_a_trace_is_not_there_is_said(
    settings: GatewaySettings, nobody: str, changed: dict[str, Any], trace_id: str, status: int, reason: str
) -> None:
    """Each reason has its own name, as far as it can be known."""
    changed = {name: f"http://{nobody}" if value == "NOBODY" else value for name, value in changed.items()}
    async with _asked(settings.model_copy(update=changed)) as client:
        answer = await client.get(f"/explorer/traces/{trace_id}")

        assert (answer.status_code, answer.json()["reason"]) == (status, reason)
        if reason != "INVALID":
            about_order = await client.get(f"/explorer/orders/{ORDER_ID}/traces")
            assert about_order.status_code == (503 if "trace_store_url" in changed else 200)


async def test_a_store_that_fails_is_away_and_a_trace_has_its_bound(settings: GatewaySettings) -> None:
    """Whatever it says beside an answer or "not found" is no trace, and one of more than 16 MiB stays there."""
    said = web.Response(status=500, text="no")

    async def answer() -> web.Response:
        return said

    async with serving(answer) as server:
        changed = {"trace_store_url": f"http://{server.address}"}
        async with _asked(settings.model_copy(update=changed)) as client:
            failing = await client.get(f"/explorer/traces/{OWN}")
            assert (failing.status_code, failing.json()["reason"]) == (503, "TRACE_STORE_AWAY")
            said = web.Response(body=b" " * (BYTES_MAX + 1))
            large = await client.get(f"/explorer/traces/{OWN}")
            assert (large.status_code, large.json()["reason"]) == (502, "TRACE_TOO_LARGE")


async def test_the_further_traces_about_an_order_are_found(client: httpx.AsyncClient, store: TraceApi) -> None:
    """The oldest first, each by what began it; the order's own is left out where it is named."""
    for request in exports():
        store.store.add(request)

    answer = await client.get(f"/explorer/orders/{ORDER_ID}/traces?since={SINCE}")
    assert answer.json() == {"traces": FOUND}
    answer = await client.get(f"/explorer/orders/{ORDER_ID}/traces?since={SINCE}&except={OWN}")
    assert answer.json() == {"traces": FOUND[1:]}
    # After the order was placed by a clock that runs a day behind.
    answer = await client.get(f"/explorer/orders/{ORDER_ID}/traces?since={quote('2026-11-24T08:00:00+00:00')}")
    assert answer.json() == {"traces": []}


@pytest.mark.docker
async def test_jaeger_finds_the_same_traces(tmp_path: Path, settings: GatewaySettings) -> None:
    """It is searched by another API, and has a trace by the same one."""
    with Jaeger(tmp_path, "memory") as jaeger:
        await asyncio.to_thread(jaeger.send, *exports())
        await asyncio.to_thread(jaeger.until_kept, BY_HAND)
        changed = {"trace_store": "memory", "trace_store_url": jaeger.url}
        async with _asked(settings.model_copy(update=changed)) as client:
            answer = await client.get(f"/explorer/orders/{ORDER_ID}/traces?since={SINCE}")
            assert answer.json() == {"traces": FOUND}
            nothing = await client.get(f"/explorer/traces/{'f' * 32}")
            assert (nothing.status_code, nothing.json()["reason"]) == (404, "TRACE_NOT_THERE")
            told = (await client.get(f"/explorer/traces/{CANCELLED}")).json()
            names = [
                span["name"]
                for resource in told["result"]["resourceSpans"]
                for scope in resource["scopeSpans"]
                for span in scope["spans"]
            ]
            assert sorted(names) == ["later", CANCEL[1]]


@pytest.mark.parametrize("query", ["since=yesterday", "since=2026-11-23T08:48:20", "since=1"])
async def test_a_time_that_is_none_is_refused(client: httpx.AsyncClient, query: str) -> None:
    """A time without its zone is as good as none."""
    answer = await client.get(f"/explorer/orders/{ORDER_ID}/traces?{query}")

    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID")


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:00"])
async def test_any_time_can_be_asked_for(client: httpx.AsyncClient, since: str) -> None:
    """However long ago, or to come."""
    answer = await client.get(f"/explorer/orders/{ORDER_ID}/traces?since={quote(since)}")

    assert (answer.status_code, answer.json()) == (200, {"traces": []})
