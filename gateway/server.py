"""uvicorn inside our own process: it leaves signals to the process, sleeps when idle, and ends without delay."""

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp

from chassis import errors
from gateway.connection import Connection
from gateway.settings import GatewaySettings

_BACKLOG: Final = 2048


async def serve(app: ASGIApp, settings: GatewaySettings, stopping: asyncio.Event) -> None:
    """Serve HTTP until `stopping` is set, then finish the requests in hand, as long as the grace allows.

    Raises:
        Misconfigured: it cannot listen there.
    """

    def connection(**arguments: Any) -> Connection:
        return Connection(settings.connections_max, **arguments)

    config = uvicorn.Config(
        app,
        # A factory is all that is asked of it.
        http=cast(type[asyncio.Protocol], connection),
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.idle_seconds_max,
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
        raise errors.cannot_listen(error, "HTTP_PORT", host, port) from error
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
