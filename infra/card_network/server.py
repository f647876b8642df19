"""uvicorn as one loop of a process: the process owns the signals and says when to stop."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Generator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from chassis import errors

# Long enough for a slow card's charge.
GRACE_SECONDS = 5


class Connection(H11Protocol):
    """A connection that the application can cut without an answer, which ASGI has no word for.

    It ends by itself when it has had no request in hand for as long as connections are kept alive.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # Each request's scope gets a copy of this as its state.
        self.app_state = {"abort": transport.abort}
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        # uvicorn takes the timer away with any byte, so that half a head, or a body that nobody reads, would stay.
        if self.conn.our_state not in (h11.IDLE, h11.DONE):
            super()._unset_keepalive_if_required()


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
            if error.errno == errno.EADDRINUSE:
                raise errors.port_taken("HTTP_PORT", *self._address) from error
            raise errors.Misconfigured(f"settings HOST, HTTP_PORT: {error.strerror}") from error
        # asyncio does this only for sockets that name their protocol; without it each answer waits 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self.serve([listener])

    async def serving(self) -> None:
        """Raises ConnectionError unless requests are taken."""
        if not self.started:
            raise ConnectionError("HTTP is not being served yet")
