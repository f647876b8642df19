"""The card network as a process: readiness, ports, an orderly end, and its part of the trace."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from chassis.testing import Spans, eventually
from infra.card_network.app import CardNetwork
from infra.card_network.ledger import Ledger
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

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)


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
