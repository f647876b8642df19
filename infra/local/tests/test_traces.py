"""The trace process takes spans by OTLP and answers as Jaeger 2.13 does."""

import asyncio
import base64
import hashlib
import html
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
import pytest_asyncio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from infra.local.probes import free_ports, http_ok
from infra.local.tests.sample_spans import OTHER_TRACE_ID, TRACE_ID, export, sample_exports, span

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What jaegertracing/jaeger:2.13.0 answered to GET /api/v3/traces/{TRACE_ID} after the same exports.
JAEGER_ANSWER = json.loads((Path(__file__).parent / "jaeger_answer.json").read_text())

HOSTILE, HOSTILE_TRACE_ID = "<b>&'\"", "f" * 32
# Long after the samples, so that no search for them finds it.
HOSTILE_EXPORT = export(
    HOSTILE,
    HOSTILE,
    span(
        HOSTILE,
        "00f067aa0ba902ff",
        trace_id=HOSTILE_TRACE_ID,
        start_us=86_400_000_000,
        attributes={HOSTILE: HOSTILE, "shop.order.id": HOSTILE},
        status=Status(code=Status.STATUS_CODE_ERROR, message=HOSTILE),
        events=[Span.Event(name=HOSTILE)],
    ),
)

WINDOW = {"query.start_time_min": "2026-11-23T08:00:00Z", "query.start_time_max": "2026-11-23T09:00:00Z"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    otlp_port, port = free_ports(2)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.local.traces", "--otlp-port", str(otlp_port), "--port", str(port)
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(20):
            await http_ok(f"{url}/api/v3/services")()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{otlp_port}") as channel:
            for request in (*sample_exports(), HOSTILE_EXPORT):
                await TraceServiceStub(channel).Export(request, timeout=5)  # pyright: ignore[reportGeneralTypeIssues] - the stub is typed for synchronous channels
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        async with asyncio.timeout(10):
            assert await process.wait() == 0


def spans_of(answer: dict[str, Any]) -> list[str]:
    """Each span with its resource and scope, in an order of its own: Jaeger promises none."""
    return sorted(
        json.dumps([resource_spans["resource"], scope_spans["scope"], span], sort_keys=True)
        for resource_spans in answer["result"]["resourceSpans"]
        for scope_spans in resource_spans["scopeSpans"]
        for span in scope_spans["spans"]
    )


async def found(client: httpx.AsyncClient, **parameters: str) -> set[str]:
    answer = await client.get("/api/v3/traces", params=WINDOW | {f"query.{k}": v for k, v in parameters.items()})
    if answer.status_code == 404:
        assert answer.json() == {"error": {"httpCode": 404, "message": "No traces found"}}
        return set()
    answer.raise_for_status()
    return {json.loads(span)[2]["traceId"] for span in spans_of(answer.json())}


async def test_a_trace_is_written_as_jaeger_writes_it(client: httpx.AsyncClient) -> None:
    """Field for field what the real one answered to the same spans."""
    answer = await client.get(f"/api/v3/traces/{TRACE_ID}")
    assert answer.status_code == 200
    assert spans_of(answer.json()) == spans_of(JAEGER_ANSWER)


async def test_a_short_trace_id_is_filled_with_zeros(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/api/v3/traces/{OTHER_TRACE_ID.lstrip('0')}")
    assert f'"traceId":"{OTHER_TRACE_ID}"' in answer.text


async def test_an_unknown_trace_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/api/v3/traces/{TRACE_ID[::-1]}")
    assert answer.status_code == 404
    assert answer.json() == {"error": {"httpCode": 404, "message": "No traces found"}}


async def test_services_and_operations_are_listed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v3/services")).json() == {"services": [HOSTILE, "gateway", "order"]}
    assert (await client.get("/api/v3/operations")).json() == {"operations": []}
    assert (await client.get("/api/v3/operations?service=order")).json() == {
        "operations": [
            {"name": "INSERT orders", "spanKind": "client"},
            {"name": "PlaceOrder", "spanKind": "server"},
            {"name": "create order.events OrderPlaced", "spanKind": "producer"},
            {"name": "relay"},
        ]
    }
    servers = await client.get("/api/v3/operations?service=order&span_kind=server")
    assert servers.json() == {"operations": [{"name": "PlaceOrder", "spanKind": "server"}]}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, {TRACE_ID, OTHER_TRACE_ID}),
        ({"service_name": "gateway"}, {TRACE_ID}),
        ({"serviceName": "gateway"}, {TRACE_ID}),
        ({"service_name": "order"}, {TRACE_ID, OTHER_TRACE_ID}),
        ({"service_name": "payment"}, set()),
        ({"operation_name": "PlaceOrder"}, {TRACE_ID}),
        ({"service_name": "gateway", "operation_name": "relay"}, set()),
        ({"attributes": '{"shop.order.id": "order-1"}'}, {TRACE_ID}),
        ({"attributes": '{"shop.order.id": "order-2"}', "service_name": "gateway"}, set()),
        ({"attributes": '{"shop.order.id": "order"}'}, set()),
        ({"attributes": '{"http.response.status_code": "202", "bool": "true", "double": "1.5"}'}, {TRACE_ID}),
        ({"attributes": '{"http.response.status_code": "203"}'}, set()),
        ({"duration_min": "8ms"}, {TRACE_ID}),
        ({"duration_min": "1us", "duration_max": "1.5us"}, {OTHER_TRACE_ID}),
        ({"duration_min": "1h1m"}, set()),
        ({"start_time_min": "2026-11-23T08:48:22Z"}, {OTHER_TRACE_ID}),
        ({"start_time_max": "2026-11-23T10:48:22+02:00"}, {TRACE_ID}),
        ({"num_traces": "1"}, {OTHER_TRACE_ID}),
        ({"search_depth": "1"}, {OTHER_TRACE_ID}),
    ],
)
async def test_a_search_finds_the_traces_with_a_span_that_fulfils_it(
    client: httpx.AsyncClient, parameters: dict[str, str], expected: set[str]
) -> None:
    """All conditions must hold for one span; the newest traces come first."""
    assert await found(client, **parameters) == expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/api/v3/traces/xyz", "malformed parameter trace_id"),
        ("/api/v3/traces?query.service_name=order", "query.start_time_min and query.start_time_max are required"),
        ("/api/v3/traces?query.start_time_min=soon&query.start_time_max=2026-11-24T00:00:00Z", "query.start_time_min"),
        ("/api/v3/traces?query.start_time_min=2026-11-23&query.start_time_max=2026-11-24", "no time zone"),
    ],
)
async def test_a_malformed_question_is_refused_by_name(client: httpx.AsyncClient, path: str, message: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 400
    assert answer.json()["error"]["httpCode"] == 400
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("duration_min", "7"), ("duration_max", "soon"), ("num_traces", "-1"), ("attributes", "{"), ("attributes", "[1]")],
)
async def test_a_malformed_condition_is_refused_by_name(client: httpx.AsyncClient, name: str, value: str) -> None:
    answer = await client.get("/api/v3/traces", params=WINDOW | {f"query.{name}": value})
    assert answer.status_code == 400
    assert f"query.{name}" in answer.json()["error"]["message"]


async def test_an_unknown_path_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v3/nothing")).status_code == 404


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def test_a_trace_can_be_read_as_text(client: httpx.AsyncClient) -> None:
    """The link that the gateway gives shows a tree to `curl`, and says how to see more of it."""
    answer = await client.get(f"/trace/{TRACE_ID}")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    _, first, second, *_, more, _ = (line.split() for line in answer.text.splitlines())
    assert first[2:5] == ["gateway", "POST", "/v1/orders"]
    assert second[2:5] == ["gateway", "└", "PlaceOrder"]
    assert more == f"More of each span: curl '{client.base_url}/trace/{TRACE_ID}?show=links,attributes,events'".split()


async def test_what_a_span_links_to_is_named_although_it_is_in_another_trace(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/trace/{TRACE_ID}?show=links")
    [linked] = [line for line in answer.text.splitlines() if " link to " in line]
    assert linked.split("│")[-1].strip() == (
        f"link to relay (order), key = 1, in {client.base_url}/trace/{OTHER_TRACE_ID}"
    )


async def test_attributes_and_events_are_shown_on_demand(client: httpx.AsyncClient) -> None:
    plain = (await client.get(f"/trace/{TRACE_ID}")).text
    assert "http.response.status_code" not in plain
    answer = await client.get(f"/trace/{TRACE_ID}?show=attributes,events")
    assert "shop.order.id = order-1\n" in answer.text
    assert "http.response.status_code = 202\n" in answer.text
    assert "array = x, 2\n" in answer.text
    assert "event later after" in answer.text
    assert "link to" not in answer.text


async def test_the_list_of_traces_is_text_for_curl(client: httpx.AsyncClient) -> None:
    """Orders first, and every trace on demand; each with its address, which leads there."""
    orders, every = (await client.get("/")).text, (await client.get("/?all=1")).text
    assert f"{client.base_url}/trace/{TRACE_ID}  order order-1" in orders
    assert OTHER_TRACE_ID not in orders
    assert f"{client.base_url}/trace/{OTHER_TRACE_ID}  order order-2" in every
    assert len((await client.get("/?all=1&limit=1")).text.split("/trace/")) == 2
    for address in re.findall(r"http://[^\s']+", orders + every):
        assert (await client.get(address)).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/?all=1", f"/trace/{TRACE_ID}", f"/trace/{TRACE_ID}?show=links,attributes,events"]
)
async def test_a_browser_gets_a_page_without_scripts_whose_links_lead_somewhere(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path, headers=BROWSER)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in answer.text
    links = re.findall(r'href="(/[^"]*)"', answer.text)
    assert len(links) >= 2
    for link in links:
        assert (await client.get(link.replace("&amp;", "&"), headers=BROWSER)).status_code == 200


async def test_the_policy_allows_exactly_the_style_of_the_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/", headers=BROWSER)
    [style] = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/?all=1", f"/trace/{HOSTILE_TRACE_ID}?show=links,attributes,events"])
async def test_what_a_span_says_is_no_markup(client: httpx.AsyncClient, path: str) -> None:
    """A sender of spans writes text, nothing else."""
    answer = await client.get(path, headers=BROWSER)
    assert html.escape(HOSTILE) in answer.text
    assert HOSTILE not in answer.text
    assert "<b>" not in answer.text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/?limit=0", 400, "limit: 0 is no number from 1 to 500"),
        ("/?limit=501", 400, "limit: 501 is no number from 1 to 500"),
        ("/?limit=x", 400, "limit: x is no number"),
        ("/?all=yes", 400, "all: yes is neither 0 nor 1"),
        (f"/trace/{TRACE_ID}?show=links,nothing", 400, "show: nothing is none of links, attributes, events"),
        ("/trace/xyz", 400, "malformed parameter trace_id"),
        (f"/trace/{TRACE_ID[::-1]}", 404, "No such trace is here"),
        ("/traces", 404, "There is nothing at this address"),
    ],
)
async def test_a_person_is_told_what_is_wrong(client: httpx.AsyncClient, path: str, status: int, words: str) -> None:
    """In plain text, and where nothing is found with the address of the list."""
    answer = await client.get(path, headers=BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
    assert words in answer.text
    assert (f"{client.base_url}/\n" in answer.text) == (status == 404)
