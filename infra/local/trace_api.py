"""Answers Jaeger's query API (`/api/v3/…`) from the store, and `/trace/{id}` as a tree for `curl`."""

import json
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from infra.local.otlp_json import Json, traces_json
from infra.local.trace_query import MalformedQuery, Parameters, either, trace_query
from infra.local.trace_search import find_traces, operations
from infra.local.trace_store import StoredTrace, TraceStore
from infra.local.trace_tree import trace_text

_TRACE_ID = re.compile(r"[0-9a-fA-F]{1,32}")


class NothingFound(Exception):
    """Answered as 404."""


class TraceApi(ThreadingHTTPServer):
    """A thread a request: it is asked rarely, and a thread that waits for a connection costs nothing."""

    daemon_threads = True

    def __init__(self, host: str, port: int, store: TraceStore) -> None:
        super().__init__((host, port), _Handler)
        self.store = store


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Seconds after which a silent connection gives its thread back.
    timeout = 30
    # Headers and body leave as two writes; without this the second waits for the client's acknowledgement.
    disable_nagle_algorithm = True
    server: TraceApi  # pyright: ignore[reportIncompatibleVariableOverride] - only this server makes these handlers

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        parameters = {name: values[-1] for name, values in parse_qs(url.query).items()}
        try:
            body = _answer(self.server.store, url.path, parameters)
        except MalformedQuery as malformed:
            self._refuse(HTTPStatus.BAD_REQUEST, str(malformed))
        except NothingFound as nothing:
            self._refuse(HTTPStatus.NOT_FOUND, str(nothing))
        else:
            if isinstance(body, str):
                self._send(HTTPStatus.OK, "text/plain; charset=utf-8", body)
            else:
                self._send(HTTPStatus.OK, "application/json", json.dumps(body, separators=(",", ":")))

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not worth a line."""

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._send(status, "application/json", json.dumps({"error": {"httpCode": status, "message": message}}))

    def _send(self, status: HTTPStatus, content_type: str, body: str) -> None:
        encoded = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)


def _answer(store: TraceStore, path: str, parameters: Parameters) -> Json | str:
    match path.strip("/").split("/"):
        case ["api", "v3", "services"]:
            return {"services": store.services()}
        case ["api", "v3", "operations"]:
            service = parameters.get("service", "")
            # Jaeger knows no operation of no service.
            stored = store.newest_first() if service else ()
            return {"operations": operations(stored, service, either(parameters, "span_kind"))}
        case ["api", "v3", "traces"]:
            return _found(find_traces(store.newest_first(), trace_query(parameters)))
        case ["api", "v3", "traces", trace_id]:
            return _found(_trace(store, trace_id))
        case ["trace", trace_id]:
            return trace_text(_found(_trace(store, trace_id)))
        case _:
            raise NothingFound(f"no such path: {path}")


def _trace(store: TraceStore, trace_id: str) -> list[StoredTrace]:
    if not _TRACE_ID.fullmatch(trace_id):
        raise MalformedQuery(f"malformed parameter trace_id: {trace_id}")
    trace = store.get(bytes.fromhex(trace_id.zfill(32)))
    return [] if trace is None else [trace]


def _found(traces: list[StoredTrace]) -> Json:
    if not traces:
        raise NothingFound("No traces found")
    return traces_json(traces)
