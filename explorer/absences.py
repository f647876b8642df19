"""What is not there is no error for the page: a browser reports each 404 and 503 on its console, expected or not.

request with `shop-absent: 204` ─▶ 404, 502, 503, 504 ─▶ 204, and the problem's reason, status and detail as headers
"""

import json
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PREFIX: Final = "/explorer/"
_WISH: Final = (b"shop-absent", b"204")
_EXPECTED: Final = (
    HTTPStatus.NOT_FOUND,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


class Absences:
    """Answers so below `/explorer/` if the request asks for it; everybody else gets the problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_wished = scope["type"] == "http" and scope["path"].startswith(_PREFIX) and _WISH in scope["headers"]
        await self._app(scope, receive, _Absent(send) if is_wished else send)


class _Absent:
    """Sends an answer on as it is, or, if it says that something is not there, 204 in its place."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._refused: HTTPStatus | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] in _EXPECTED:
            self._refused = HTTPStatus(message["status"])
        elif self._refused is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._say(self._refused)

    async def _say(self, status: HTTPStatus) -> None:
        problem = json.loads(self._body)
        headers = [
            (b"shop-absent", str(problem.get("reason") or problem["code"]).encode()),
            (b"shop-absent-status", str(status.value).encode()),
            (b"shop-absent-detail", quote(str(problem["detail"])).encode()),
            (b"cache-control", b"no-store"),
        ]
        await self._send({"type": "http.response.start", "status": HTTPStatus.NO_CONTENT, "headers": headers})
        await self._send({"type": "http.response.body"})
