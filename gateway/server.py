"""uvicorn inside our own process: it leaves signals to the process, sleeps when idle, and ends without delay."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Generator
from http import HTTPStatus
from typing import Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from chassis import errors
from gateway import problems
from gateway.boundary import headers_too_large
from gateway.settings import GatewaySettings

_BACKLOG: Final = 2048
_KEEP_ALIVE_SECONDS: Final = 30


async def serve(app: ASGIApp, settings: GatewaySettings, stopping: asyncio.Event) -> None:
    """Serve HTTP until `stopping` is set, then finish the requests in hand, as long as the grace allows.

    Raises:
        Misconfigured: somebody else listens there.
    """
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        # One second less than the process gives, so that it is we who say what was cut off.
        timeout_graceful_shutdown=max(1, int(settings.shutdown_grace_seconds) - 1),
        h11_max_incomplete_event_size=settings.header_bytes_max,
    )
    await Server(config, stopping).serve(sockets=[_listen(settings.host, settings.http_port)])


def _listen(host: str, port: int) -> socket.socket:
    # The protocol is named because asyncio turns Nagle's algorithm off only then; with it an answer waits 40 ms.
    listening = socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise errors.port_taken("HTTP_PORT", host, port) from error
    listening.setblocking(False)
    return listening


class Server(uvicorn.Server):
    """Stops with the process."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """The process has its own handlers."""
        yield

    async def main_loop(self) -> None:
        """Wait without the ten wake-ups a second that uvicorn has for its date header, which is off."""
        await self.on_tick(0)
        await self._stopping.wait()


class Protocol(H11Protocol):
    """Answers what is not HTTP, or has too large a head, with a problem document too."""

    def send_400_response(self, msg: str) -> None:
        """Called while the parser's error is handled; the connection ends behind the answer."""
        error = sys.exception()
        hint = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else HTTPStatus.BAD_REQUEST
        if hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            problem = headers_too_large(self.config.h11_max_incomplete_event_size or 0)
        else:
            problem = problems.refusal(HTTPStatus.BAD_REQUEST, "MALFORMED_REQUEST", "This is not an HTTP/1.1 request.")
        # Behind the beginning of an answer nothing more can be said.
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = problem.body()
            headers = [
                (b"content-type", problems.MEDIA_TYPE.encode()),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            head = h11.Response(status_code=problem.status, headers=headers, reason=problem.status.phrase.encode())
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
