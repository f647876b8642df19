"""HTTP connections that end by themselves: uvicorn's own stay open for whoever says nothing, or never says it whole."""

from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedConnection(H11Protocol):
    """A connection that ends when it has had no request in hand for as long as connections are kept alive."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # uvicorn leaves the timer, and with it the connection, to itself when there was an error.
        self._unset_keepalive_if_required()

    def _unset_keepalive_if_required(self) -> None:
        # uvicorn takes the timer away with any byte, and sets it with an answer alone. While no request is in hand it
        # stays: a byte of a head, or of a body that has its answer, is not worth another wait.
        if self.conn.our_state not in (h11.IDLE, h11.DONE):
            super()._unset_keepalive_if_required()
