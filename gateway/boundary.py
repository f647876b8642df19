"""Where the outside ends: heads are bounded, and a caller's trace is linked to, not joined.

TrustBoundary (takes the caller's context off) ─▶ FastAPI's telemetry (opens the server span) ─▶ CallerLink
"""

import re
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.exchange import send_problem
from gateway.problems import Header, Problem, refusal

# A caller's baggage would be sent on to every service, and its trace would become ours.
_FROM_CALLERS: Final = frozenset({b"traceparent", b"tracestate", b"baggage"})
_CALLER: Final = "shop.caller"
_NOSNIFF: Final[Header] = (b"x-content-type-options", b"nosniff")
# RFC 3986, 3.3: what needs no escape in a path, beside letters, digits and what `quote` leaves anyway.
_PATH_CHARACTERS: Final = "/:@!$&'()*+,;="
_VALUE: Final = re.compile(r"=[^&]*")

_propagator = TraceContextTextMapPropagator()


class TrustBoundary:
    """The outermost layer.

    Args:
        app: what is inside.
        header_bytes_max: the largest request line and headers, together. The server's parser has a bound too, but only
            for what arrives in pieces.
    """

    def __init__(self, app: ASGIApp, header_bytes_max: int) -> None:
        self._app, self._header_bytes_max = app, header_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: list[Header] = scope["headers"]
        ours = [header for header in headers if header[0] not in _FROM_CALLERS]
        # ASGI leaves it to the server whether the path is also there as it travelled; routes are matched by that.
        raw_path: bytes = scope.get("raw_path") or quote(scope["path"], safe=_PATH_CHARACTERS).encode()
        inside: dict[str, Any] = {**scope, "headers": ours, "raw_path": raw_path}
        if len(ours) != len(headers):
            inside[_CALLER] = {
                name.decode(): value.decode("latin-1") for name, value in headers if name in _FROM_CALLERS
            }

        size = len(raw_path) + len(scope["query_string"]) + sum(len(name) + len(value) for name, value in headers)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], _NOSNIFF]
            await send(message)

        if size > self._header_bytes_max:
            await send_problem(marked, headers_too_large(self._header_bytes_max))
            return
        # Requests that wait on one connection are begun from one another's tasks and would inherit their spans.
        token = attach(Context())
        try:
            await self._app(inside, receive, marked)
        finally:
            detach(token)


def headers_too_large(bytes_max: int) -> Problem:
    """The problem of too large a head."""
    detail = f"The request line and the headers have at most {bytes_max} bytes."
    return refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "HEADERS_TOO_LARGE", detail)


class CallerLink:
    """Just inside the server span: links it to the caller's trace, and takes the query's values off it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        span = trace.get_current_span()
        if span.is_recording():
            if caller := scope.get(_CALLER):
                context = trace.get_current_span(_propagator.extract(caller, Context())).get_span_context()
                if context.is_valid:
                    span.add_link(context)
            if query := scope.get("query_string"):
                # A query may name a customer.
                span.set_attribute("url.query", _VALUE.sub("=REDACTED", query.decode("latin-1")))
        await self._app(scope, receive, send)
