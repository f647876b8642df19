"""The card network as a process: readiness, ports, an orderly end, and its part of the trace."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from chassis.errors import Misconfigured
from chassis.testing import Spans, eventually
from conftest import free_port
from infra.card_network import exchange
from infra.card_network.app import CardNetwork
from infra.card_network.ledger import Ledger
from infra.card_network.server import Server
from infra.card_network.tests.conftest import Network

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_it_ends_in_an_orderly_way_while_it_keeps_somebody_waiting(
    start: Callable[[], Network], key: str
) -> None:
    """SIGTERM: exit code 0, although a silent card's caller still waits."""
    network = start()
    await network.start()
    waiting = asyncio.create_task(network.charge(key, "tok_silent"))

    async def charged() -> bool:
        return bool((await network.call("GET", "/charges")).json()["charges"])

    await eventually(charged)
    assert await asyncio.to_thread(network.stop) == 0
    with pytest.raises(httpx.TransportError):
        await waiting


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """The process ends at once and names the setting."""
    network = Network(tmp_path)
    with socket.create_server(("127.0.0.1", network.port)):
        ended = subprocess.run(
            [sys.executable, "-m", "infra.card_network"],
            env=network.environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert ended.returncode == 2
    assert ended.stderr.startswith(
        f"card-network: setting HTTP_PORT: port {network.port} on 127.0.0.1 is already taken"
    )
    assert ended.stderr.count("\n") == 1


async def test_an_address_that_cannot_be_had_is_told_in_the_systems_words() -> None:
    """An address of documentation: no machine has it, so nobody can have taken the port."""
    with pytest.raises(Misconfigured, match=r"HOST, HTTP_PORT: .*192\.0\.2\.1") as refused:
        await Server(_silent, "192.0.2.1", free_port(), asyncio.Event()).run_until_stopping()
    assert "already taken" not in str(refused.value)


async def _silent(_scope: Any, _receive: Any, _send: Any) -> None:
    raise AssertionError("nothing is asked")


@pytest.mark.parametrize("begun", [b"", b"GET /charges HTTP/1.1\r\nho"])
async def test_a_connection_without_a_request_ends(begun: bytes) -> None:
    """However little of one there is."""
    stopping, port = asyncio.Event(), free_port()
    server = Server(_silent, "127.0.0.1", port, stopping)
    server.config.timeout_keep_alive = 1
    serving = asyncio.create_task(server.run_until_stopping())
    await eventually(_started(server))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begun)
    assert await asyncio.wait_for(reader.read(), 4) == b""
    writer.close()
    stopping.set()
    await serving


def _started(server: Server) -> Callable[[], Awaitable[bool]]:
    async def started() -> bool:
        return server.started

    return started


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor is the rest of one that is too long: the connection ends with the answer."""
    monkeypatch.setattr(exchange, "BODY_SECONDS_MAX", 0.05)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    network = CardNetwork(ledger, silence_seconds=1, slow_seconds=1)
    late, long = LateCall("POST", "/charges", b""), Call("POST", "/charges", b"x" * 20_000)
    for call in (late, long):
        await network(call.scope, call.receive, call.send)
        assert (b"connection", b"close") in call.answer_headers
    ledger.close()
    assert (late.status, long.status) == (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class Call:
    """One request to the application, past any server."""

    def __init__(self, method: str, path: str, body: bytes, **headers: str) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "scheme": "http",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
            "state": {},
        }
        self._body = body
        self.status = 0
        self.answer_headers: list[tuple[bytes, bytes]] = []

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.answer_headers += message.get("headers", [])


class LateCall(Call):
    """Its body never comes."""

    async def receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}


@pytest.mark.parametrize(
    ("card_token", "status", "failed"), [("tok_visa", HTTPStatus.OK, False), ("tok_flaky", 503, True)]
)
async def test_each_request_is_one_server_span(tmp_path: Path, card_token: str, status: int, failed: bool) -> None:
    """A child of the caller's span, named after the route, that never tells the card."""
    spans = Spans()
    ledger = Ledger(tmp_path / "ledger.jsonl")
    body = b'{"amountMinor":1,"currencyCode":"EUR","cardToken":"%s"}' % card_token.encode()
    call = Call("POST", "/charges", body, idempotency_key="key", traceparent=PARENT)
    await CardNetwork(ledger, silence_seconds=1, slow_seconds=1)(call.scope, call.receive, call.send)
    ledger.close()
    assert call.status == status
    span = spans.one("POST /charges")
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" in PARENT
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == status
    assert (span.status.status_code is StatusCode.ERROR) == failed
    assert card_token not in span.to_json()
