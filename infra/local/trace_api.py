"""Answers Jaeger's query API (`/api/v3/…`) from the store, and people: `/` lists traces, `/trace/{id}` draws one."""

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from infra.local import trace_page, trace_views
from infra.local.otlp_json import Json, traces_json
from infra.local.trace_query import MalformedQuery, NothingFound, Parameters, either, trace_query
from infra.local.trace_search import find_traces, operations
from infra.local.trace_store import StoredTrace, TraceStore

_TEXT, _PAGE, _JSON = "text/plain; charset=utf-8", "text/html; charset=utf-8", "application/json"


@dataclass(frozen=True)
class Answer:
    status: HTTPStatus
    content_type: str
    body: str
    headers: dict[str, str] = field(default_factory=dict[str, str])


class TraceApi(ThreadingHTTPServer):
    """A thread a request: it is asked rarely, and a thread that waits for a connection costs nothing."""

    daemon_threads = True

    def __init__(self, host: str, port: int, store: TraceStore) -> None:
        super().__init__((host, port), _Handler)
        self.store = store
        self.url = f"http://{host}:{port}"


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
        path = url.path.strip("/").split("/")
        if path[0] == "api":
            answer = _for_programs(self.server.store, path, parameters)
        else:
            is_browser = "text/html" in self.headers.get("Accept", "")
            answer = _for_people(self.server, path, parameters, as_page=is_browser)
        encoded = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(encoded)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not worth a line."""


def _for_programs(store: TraceStore, path: list[str], parameters: Parameters) -> Answer:
    try:
        body = _queried(store, path, parameters)
    except MalformedQuery as malformed:
        return _refusal(HTTPStatus.BAD_REQUEST, str(malformed))
    except NothingFound as nothing:
        return _refusal(HTTPStatus.NOT_FOUND, str(nothing))
    return Answer(HTTPStatus.OK, _JSON, json.dumps(body, separators=(",", ":")))


def _refusal(status: HTTPStatus, message: str) -> Answer:
    return Answer(status, _JSON, json.dumps({"error": {"httpCode": status, "message": message}}))


def _queried(store: TraceStore, path: list[str], parameters: Parameters) -> Json:
    match path:
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
            return traces_json([trace_views.stored(store, trace_id)])
        case _:
            raise NothingFound(f"no such path: /{'/'.join(path)}")


def _found(traces: list[StoredTrace]) -> Json:
    if not traces:
        raise NothingFound("No traces found")
    return traces_json(traces)


def _for_people(server: TraceApi, path: list[str], parameters: Parameters, *, as_page: bool) -> Answer:
    # The same address answers curl and browsers differently, and otherwise a moment later.
    headers = {"Vary": "Accept", "Cache-Control": "no-store"}
    try:
        body = _seen(server, path, parameters, as_page=as_page)
    except MalformedQuery as malformed:
        return Answer(HTTPStatus.BAD_REQUEST, _TEXT, f"{malformed}\n", headers)
    except NothingFound as nothing:
        return Answer(HTTPStatus.NOT_FOUND, _TEXT, f"{nothing}\nTraces of orders: {server.url}/\n", headers)
    if as_page:
        return Answer(HTTPStatus.OK, _PAGE, body, headers | trace_page.HEADERS)
    return Answer(HTTPStatus.OK, _TEXT, body, headers)


def _seen(server: TraceApi, path: list[str], parameters: Parameters, *, as_page: bool) -> str:
    match path:
        case [""]:
            return trace_views.listed(server.store, parameters, server.url, as_page=as_page)
        case ["trace", trace_id]:
            return trace_views.drawn(server.store, trace_id, parameters, server.url, as_page=as_page)
        case _:
            raise NothingFound("There is nothing at this address.")
