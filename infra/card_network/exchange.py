"""One HTTP exchange: the SERVER span around it, the request's body, the answer, or the end of the connection."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from chassis import telemetry
from chassis.source import code
from chassis.telemetry import TraceContext

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

BODY_BYTES_MAX = 16 * 1024
BODY_SECONDS_MAX = 10
# Answers to a body that is not all there: nobody waits for the rest.
_CLOSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class HungUp(Exception):
    """The connection is closed; nobody is left to answer."""


class BadRequest(Exception):
    """The request is answered by a status of its own."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class Exchange:
    """A request and the way back.

    Args:
        scope: its state holds `abort`, which cuts the connection.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

    @contextmanager
    def span(self, route: str, handler: Callable[..., Any]) -> Generator[Span]:
        """The SERVER span, named after the route, as a child of the caller's; it leads to the handler."""
        method: str = self._scope["method"]
        with telemetry.span(
            f"{method} {route}",
            SpanKind.SERVER,
            {
                "http.request.method": method,
                "http.route": route,
                "url.path": self._scope["path"],
                "url.scheme": self._scope["scheme"],
                **code(handler),
            },
            telemetry.restore(TraceContext(self.header("traceparent"), self.header("tracestate"))),
        ) as span:
            yield span

    def header(self, name: str) -> str:
        """A request header by its lower-case name; empty if absent."""
        return self._headers.get(name, "")

    def query(self, name: str) -> str:
        """A parameter of the address; empty if absent."""
        return dict(parse_qsl(self._scope.get("query_string", b"").decode("latin-1"))).get(name, "")

    async def body(self) -> Any:
        """The body's JSON.

        Raises:
            BadRequest: it is too long, too slow, or no JSON.
        """
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                received = await self._received()
        except TimeoutError:
            raise BadRequest(HTTPStatus.REQUEST_TIMEOUT, "the body is too slow") from None
        try:
            return json.loads(received)
        except ValueError:
            raise BadRequest(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None

    async def _received(self) -> bytes:
        received = b""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise HungUp
            received += message["body"]
            more = message["more_body"]
            if len(received) > BODY_BYTES_MAX:
                raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")
        return received

    async def answer(self, span: Span, status: HTTPStatus, body: object) -> None:
        """Send the answer, and note its status on the span."""
        span.set_attribute("http.response.status_code", int(status))
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            span.set_attribute("error.type", str(int(status)))
            span.set_status(Status(StatusCode.ERROR))
        content = json.dumps(body, separators=(",", ":")).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        if status in _CLOSING:
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": int(status), "headers": headers})
        await self._send({"type": "http.response.body", "body": content})

    def abort(self) -> None:
        """Cut the connection as a broken network would."""
        self._scope["state"]["abort"]()

    async def hung_up(self) -> None:
        """Wait until the connection is closed, by whomever; then raises HungUp."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise HungUp
