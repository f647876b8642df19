"""One client's connection: counted, timed while it has no request in hand, and answered even when it speaks no HTTP."""

import sys
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway import problems
from gateway.boundary import headers_too_large
from gateway.problems import Problem


class Connection(H11Protocol):
    """One of at most `connections_max` connections, which ends when it takes too long to say what it wants.

    What is not HTTP, or has too large a head, is answered with a problem document too.
    """

    def __init__(self, connections_max: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._connections_max = connections_max

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._connections_max:
            self._end_with(problems.unavailable("The gateway has as many connections as it can take; try again."))
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # uvicorn leaves the timer, and with it the connection, to itself when there was an error.
        self._unset_keepalive_if_required()

    def _unset_keepalive_if_required(self) -> None:
        # uvicorn takes the timer away with any byte, and sets it with an answer alone. While no request is in hand it
        # stays: a byte of a head, or of a body that has its answer, is not worth another wait.
        if self.conn.our_state not in (h11.IDLE, h11.DONE):
            super()._unset_keepalive_if_required()

    def send_400_response(self, msg: str) -> None:
        """Called while the parser's error is handled; the connection ends behind the answer."""
        error = sys.exception()
        hint = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else HTTPStatus.BAD_REQUEST
        if hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            problem = headers_too_large(self.config.h11_max_incomplete_event_size or 0)
        else:
            problem = problems.refusal(HTTPStatus.BAD_REQUEST, "MALFORMED_REQUEST", "This is not an HTTP/1.1 request.")
        self._end_with(problem)

    def _end_with(self, problem: Problem) -> None:
        # Behind the beginning of an answer nothing more can be said.
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = problem.body()
            headers = [
                (b"content-type", problems.MEDIA_TYPE.encode()),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
                *problem.headers,
            ]
            phrase = problems.phrase(problem.status).encode()
            head = h11.Response(status_code=problem.status, headers=headers, reason=phrase)
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
