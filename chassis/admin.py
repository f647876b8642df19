"""The admin port: /metrics for Prometheus, /healthz (the event loop turns) and /readyz (the process can take work)."""

import asyncio
import concurrent.futures
import contextlib
import functools
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.metrics import CallbackOptions, Observation
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from chassis import errors, telemetry

# Where a closed socket wakes nobody, the server ends this much later.
POLL_SECONDS = 5.0

# More than the checks may take together, and less than whoever asks is promised: two seconds.
ANSWER_SECONDS_MAX = 1.8

Failing = Callable[[], Awaitable[dict[str, str]]]


class AdminServer:
    """Answers in a thread of its own, so that a stuck event loop is told apart from a dead process."""

    def __init__(self, host: str, port: int, loop: asyncio.AbstractEventLoop, failing: Failing) -> None:
        async def alive() -> dict[str, str]:
            return {}

        def ask(question: Failing) -> dict[str, str]:
            async def ask() -> dict[str, str]:
                return await question()

            answer = asyncio.run_coroutine_threadsafe(ask(), loop)
            try:
                return answer.result(timeout=ANSWER_SECONDS_MAX)
            except concurrent.futures.TimeoutError:
                answer.cancel()
                return {"event loop": f"no answer within {ANSWER_SECONDS_MAX:g} s"}

        def is_ready(_options: CallbackOptions) -> Iterable[Observation]:
            yield Observation(0 if ask(failing) else 1)

        # A scrape is answered by this thread however the rest of the process fares, so it has to ask.
        telemetry.meter.create_observable_gauge(
            "shop.process.ready",
            callbacks=[is_ready],
            description="1 while the process can take work, 0 while a check fails: /readyz says which.",
        )

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest())
                elif self.path in ("/healthz", "/readyz"):
                    failed = ask(alive if self.path == "/healthz" else failing)
                    status = HTTPStatus.SERVICE_UNAVAILABLE if failed else HTTPStatus.OK
                    body = {"status": "failing" if failed else "ok", "failing": failed}
                    self._answer(status, "application/json", json.dumps(body).encode())
                else:
                    self.send_error(HTTPStatus.NOT_FOUND)

            def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Probes and scrapes are not worth a line each."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise errors.cannot_listen(error, "ADMIN_PORT", host, port) from error
        self._server.daemon_threads = True
        # By default it wakes twice a second to look whether it should end.
        serve = functools.partial(self._server.serve_forever, poll_interval=POLL_SECONDS)
        threading.Thread(target=serve, name="admin", daemon=True).start()

    def close(self) -> None:
        # Wakes the server, which then finds that it should end.
        with contextlib.suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()


def serve(host: str, port: int, loop: asyncio.AbstractEventLoop, failing: Failing) -> AdminServer:
    """Serve the admin port until `close()`.

    Raises:
        Misconfigured: it cannot listen there.
    """
    return AdminServer(host, port, loop, failing)
