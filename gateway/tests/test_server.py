"""The gateway behind its real server: connections, sizes, stopping."""

import asyncio
import errno
import json
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from chassis.errors import Misconfigured
from gateway.server import serve
from gateway.settings import GatewaySettings
from gateway.tests.upstream import Upstream

Body = Callable[..., dict[str, Any]]


async def raw(settings: GatewaySettings, request: bytes) -> tuple[bytes, bytes]:
    """The head and the body of the answer to these bytes; the connection must end behind it."""
    reader, writer = await asyncio.open_connection(settings.host, settings.http_port)
    try:
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 3)
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


async def test_an_order_placed_over_tcp(served: httpx.AsyncClient, order: Body) -> None:
    answer = await served.post("/v1/orders", json=order())

    assert answer.status_code == 202
    assert "server" not in answer.headers


async def test_answers_are_not_held_back(served: httpx.AsyncClient) -> None:
    """Head and body are two packets; with Nagle's algorithm the second waits 40 ms for the client's acknowledgement."""
    await served.get("/healthz")

    began = time.perf_counter()
    for _ in range(10):
        await served.get("/healthz")

    assert time.perf_counter() - began < 0.3


async def test_a_client_that_hangs_up_does_not_stop_what_it_asked_for(
    served: httpx.AsyncClient, settings: GatewaySettings, upstream: Upstream, order: Body
) -> None:
    entered, leave, outcome = asyncio.Event(), asyncio.Event(), asyncio.Queue[str]()

    async def slow(_context: Any) -> None:
        entered.set()
        try:
            await leave.wait()
        except asyncio.CancelledError:
            outcome.put_nowait("cancelled")
            raise
        outcome.put_nowait("done")

    upstream.before["PlaceOrder"] = slow
    body = json.dumps(order()).encode()
    _, writer = await asyncio.open_connection(settings.host, settings.http_port)
    head = (
        f"POST /v1/orders HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await asyncio.wait_for(entered.wait(), 2)

    writer.transport.abort()
    # Another request on the same loop: the gateway has seen the end of the first connection by then.
    await served.get("/healthz")
    leave.set()

    assert await asyncio.wait_for(outcome.get(), 2) == "done"


async def test_a_large_body_gets_its_answer_although_it_is_not_read(served: httpx.AsyncClient) -> None:
    answer = await served.post("/v1/orders", content=b" " * 2_000_000, headers={"content-type": "application/json"})

    assert answer.status_code == 413
    assert answer.json()["reason"] == "BODY_TOO_LARGE"
    assert (await served.get("/healthz")).status_code == 200


async def test_a_client_that_asks_first_is_told_before_it_sends_a_large_body(
    served: httpx.AsyncClient, settings: GatewaySettings
) -> None:
    head = (
        "POST /v1/orders HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n"
        "content-length: 2000000\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    )

    answer, _ = await raw(settings, head.encode())

    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("rest", [b" HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n", b""])
async def test_too_large_a_head_is_a_problem(served: httpx.AsyncClient, settings: GatewaySettings, rest: bytes) -> None:
    """Whole or, as far as anybody has seen, endless."""
    head, body = await raw(settings, b"GET /v1/stock?" + b"x" * 20_000 + rest)

    assert head.startswith(b"HTTP/1.1 431 ")
    assert json.loads(body)["reason"] == "HEADERS_TOO_LARGE"


@pytest.mark.parametrize("request_bytes", [b"nonsense\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n"])
async def test_what_is_not_http_is_a_problem(
    served: httpx.AsyncClient, settings: GatewaySettings, request_bytes: bytes
) -> None:
    """An HTTP/1.1 request without a host is none either."""
    head, body = await raw(settings, request_bytes)

    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["reason"] == "MALFORMED_REQUEST"


async def test_a_body_that_breaks_its_framing_ends_the_connection(
    served: httpx.AsyncClient, settings: GatewaySettings, upstream: Upstream
) -> None:
    head = (
        b"POST /v1/orders HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n"
    )

    answer, body = await raw(settings, head + b"zz\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["reason"] == "MALFORMED_REQUEST"
    assert upstream.requests == []


async def test_a_request_in_hand_is_finished_before_the_gateway_stops(
    served: httpx.AsyncClient, upstream: Upstream, stopping: asyncio.Event, order: Body
) -> None:
    entered = asyncio.Event()

    async def slow(_context: Any) -> None:
        entered.set()
        await stopping.wait()

    upstream.before["PlaceOrder"] = slow
    placing = asyncio.create_task(served.post("/v1/orders", json=order()))
    await asyncio.wait_for(entered.wait(), 2)
    stopping.set()

    assert (await placing).status_code == 202


async def test_a_port_that_is_taken_is_named_by_its_setting(
    app: ASGIApp, settings: GatewaySettings, stopping: asyncio.Event
) -> None:
    with socket.create_server((settings.host, settings.http_port)), pytest.raises(Misconfigured, match="HTTP_PORT"):
        await serve(app, settings, stopping)


async def test_an_address_that_cannot_be_had_is_told_in_the_systems_words(
    app: ASGIApp, settings: GatewaySettings, stopping: asyncio.Event
) -> None:
    """An address of documentation: no machine has it, so nobody can have taken the port."""
    elsewhere = settings.model_copy(update={"host": "192.0.2.1"})

    with pytest.raises(Misconfigured, match=r"HOST, HTTP_PORT: 192\.0\.2\.1 port [0-9]+: ") as refused:
        await serve(app, elsewhere, stopping)
    assert os.strerror(errno.EADDRNOTAVAIL) in str(refused.value)
    assert "taken" not in str(refused.value)


async def test_requests_in_hand_are_bounded(
    client: httpx.AsyncClient, upstream: Upstream, settings: GatewaySettings, order: Body
) -> None:
    enough, leave, entered = asyncio.Event(), asyncio.Event(), 0

    async def slow(_context: Any) -> None:
        nonlocal entered
        entered += 1
        if entered == settings.calls_max:
            enough.set()
        await leave.wait()

    upstream.before["PlaceOrder"] = slow
    placing = [asyncio.create_task(client.post("/v1/orders", json=order())) for _ in range(settings.calls_max)]
    await asyncio.wait_for(enough.wait(), 2)

    refused = await client.post("/v1/orders", json=order())
    assert (refused.status_code, refused.json()["reason"]) == (503, "GATEWAY_BUSY")
    assert refused.headers["retry-after"] == "1"

    leave.set()
    assert {answer.status_code for answer in await asyncio.gather(*placing)} == {202}
    assert (await client.post("/v1/orders", json=order())).status_code == 202
