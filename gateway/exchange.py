"""One HTTP exchange on ASGI: the headers that matter, a bounded body, an answer in one piece."""

import asyncio
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from starlette.types import Receive, Scope, Send

from gateway import problems
from gateway.problems import Header, Problem, refusal

# A JSON text is UTF-8, whatever the charset says, so another one is refused.
_JSON: Final = re.compile(rb"application/(json|[a-z0-9.+-]+\+json)\s*(;\s*charset=\"?utf-8\"?\s*)?", re.IGNORECASE)
_JSON_ANSWER: Final[Header] = (b"content-type", b"application/json")
_PROBLEM_ANSWER: Final[Header] = (b"content-type", problems.MEDIA_TYPE.encode())
# An order changes while nobody looks; nothing between us and the client may answer for us.
_NOT_STORED: Final[Header] = (b"cache-control", b"no-store")
# Nobody wants the rest of a body that is refused unread.
_CLOSE: Final[Header] = (b"connection", b"close")


class ClientGone(Exception):
    """The client hung up before its request was complete; nobody is left to answer."""


class Gate:
    """So many requests are inside at once, and no more; use it as a context."""

    def __init__(self, places: int) -> None:
        self._free = places

    def __enter__(self) -> None:
        if self._free == 0:
            raise problems.unavailable("The gateway has as many requests in hand as it can take; try again.")
        self._free -= 1

    def __exit__(self, *_error: object) -> None:
        self._free += 1


class Headers:
    """The request's headers, each with its first value; a second one is remembered as a fault of the caller."""

    def __init__(self, scope: Scope) -> None:
        self._all: list[Header] = scope["headers"]
        self._first: dict[bytes, bytes] = {}
        self.repeated: set[bytes] = set()
        for name, value in self._all:
            if self._first.setdefault(name, value) is not value:
                self.repeated.add(name)

    def get(self, name: bytes) -> bytes | None:
        """The value of a header, by its lower-case name."""
        return self._first.get(name)

    def joined(self, name: bytes) -> bytes | None:
        """The value of a header that is a list, which may stand on several lines (RFC 9110, 5.3)."""
        if name not in self.repeated:
            return self.get(name)
        return b", ".join(value for each, value in self._all if each == name)


async def read_body(headers: Headers, receive: Receive, bytes_max: int, seconds_max: float) -> bytes:
    """The whole body, however it is framed.

    Raises:
        Problem: 413 beyond `bytes_max`, 408 after `seconds_max`.
        ClientGone: the connection ended first.
    """
    declared = headers.get(b"content-length")
    if declared is not None and int(declared) > bytes_max:
        raise _too_large(bytes_max)
    try:
        async with asyncio.timeout(seconds_max):
            return await _received(receive, bytes_max)
    except TimeoutError:
        detail = f"The body did not arrive within {seconds_max:g} seconds."
        raise refusal(HTTPStatus.REQUEST_TIMEOUT, "BODY_TOO_SLOW", detail, _CLOSE) from None


async def _received(receive: Receive, bytes_max: int) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        if not message.get("more_body", False):
            return body


def _too_large(bytes_max: int) -> Problem:
    detail = f"A request body has at most {bytes_max} bytes."
    return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "BODY_TOO_LARGE", detail, _CLOSE)


def require_json(headers: Headers) -> None:
    """Refuse a body that is not plain JSON.

    Raises:
        Problem: 415.
    """
    media_type = headers.get(b"content-type")
    if media_type is None or not _JSON.fullmatch(media_type.strip()):
        raise refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "The body must be JSON: send Content-Type: application/json.",
            (b"accept", b"application/json"),
        )
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_CONTENT_CODING",
            "The body must not be compressed.",
            (b"accept-encoding", b"identity"),
        )


async def send_json(send: Send, status: int, body: bytes, headers: Iterable[Header] = ()) -> None:
    """Answer with JSON."""
    await _send(send, status, body, [_JSON_ANSWER, _NOT_STORED, *headers])


async def send_problem(send: Send, problem: Problem, headers: Iterable[Header] = ()) -> None:
    """Answer with a problem document."""
    await _send(send, problem.status, problem.body(), [_PROBLEM_ANSWER, _NOT_STORED, *problem.headers, *headers])


async def _send(send: Send, status: int, body: bytes, headers: list[Header]) -> None:
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
