"""uvicorn as one loop of a process: the process owns the signals and says when to stop."""

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any

import uvicorn

from chassis import errors
from chassis.http_connection import TimedConnection

# Long enough for a slow card's charge.
GRACE_SECONDS = 5


class Connection(TimedConnection):
    """A connection that the application can cut without an answer, which ASGI has no word for."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # Each request's scope gets a copy of this as its state.
        self.app_state = {"abort": transport.abort}


class Server(uvicorn.Server):
    """Serves one ASGI application until `stopping` is set."""

    def __init__(self, app: Any, host: str, port: int, stopping: asyncio.Event) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                lifespan="off",
                ws="none",
                interface="asgi3",
                log_config=None,
                access_log=False,
                date_header=False,
                server_header=False,
                # Longer than clients keep an idle connection, so that none is closed under a request.
                timeout_keep_alive=60,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._address, self._stopping = (host, port), stopping

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def main_loop(self) -> None:
        # The original wakes ten times a second to look whether it should end.
        await self._stopping.wait()
        # Somebody may be kept waiting in silence, which must not keep the process. Who misses an answer will ask.
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()

    async def run_until_stopping(self) -> None:
        """Serve.

        Raises:
            Misconfigured: it cannot listen there.
        """
        try:
            listener = socket.create_server(self._address, backlog=self.config.backlog)
        except OSError as error:
            raise errors.cannot_listen(error, "HTTP_PORT", *self._address) from error
        # asyncio does this only for sockets that name their protocol; without it each answer waits 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self.serve([listener])

    async def serving(self) -> None:
        """Raises ConnectionError unless requests are taken."""
        if not self.started:
            raise ConnectionError("HTTP is not being served yet")
