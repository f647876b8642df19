"""One client's connection: counted, timed, and answered even when it speaks no HTTP."""

import sys
from http import HTTPStatus
from typing import Any

import h11

from chassis.http_connection import TimedConnection
from gateway import problems
from gateway.boundary import headers_too_large
from gateway.problems import Problem


class Connection(TimedConnection):
    """One of at most `connections_max` connections.

    What is not HTTP, or has too large a head, is answered with a problem document too.
    """

    def __init__(self, connections_max: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._connections_max = connections_max

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._connections_max:
            self._end_with(problems.unavailable("The gateway has as many connections as it can take; try again."))

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
