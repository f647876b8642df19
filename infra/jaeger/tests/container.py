"""Jaeger as `compose.yaml` starts it, alone in a project of its own, with all that it listens on within reach.

with Jaeger(folder, "badger") as jaeger: …      docker compose up jaeger, and down again with its volume
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from infra.local.probes import free_ports
from infra.local.tests.sample_spans import BEGIN_NS

ROOT = Path(__file__).resolve().parents[3]
QUERY, OTLP, HEALTH, METRICS = 16686, 4317, 13133, 8889
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.1

Json = dict[str, Any]
Found = TypeVar("Found")


class Jaeger:
    """
    Args:
        folder: for a compose file that adds to the shipped one.
        configuration: the value of JAEGER_CONFIG.
        changed: one more setting, merged after the shipped files, such as `receivers::otlp::protocols::http: {}`.
        beside: services to start with it.
        settings: variables that compose reads, over this process' own.
    """

    def __init__(
        self,
        folder: Path,
        configuration: str,
        changed: str = "",
        beside: Mapping[str, Json] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        ports = dict(zip((QUERY, OTLP, HEALTH, METRICS), free_ports(4), strict=True))
        self._addresses = {port: f"127.0.0.1:{published}" for port, published in ports.items()}
        self.url = f"http://{self._addresses[QUERY]}"
        self._environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": f"shop-jaeger-{ports[QUERY]}",
            "JAEGER_CONFIG": configuration,
            "JAEGER_PORT": str(ports[QUERY]),
            **(settings or {}),
        }
        self._files = ["--file", str(ROOT / "compose.yaml")]
        service: Json = {"ports": [f"{self._addresses[port]}:{port}" for port in (OTLP, HEALTH, METRICS)]}
        if changed:
            shipped = json.loads(self.compose("config", "--format", "json", "jaeger"))["services"]["jaeger"]
            service["command"] = [*shipped["command"], "--config", f"yaml:{changed}"]
        added = folder / "compose.json"
        added.write_text(json.dumps({"services": {"jaeger": service, **(beside or {})}}))
        self._files += ["--file", str(added)]
        self._beside = list(beside or {})
        self._http = httpx.Client(timeout=10)

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException as error:
            error.add_note(self.compose("logs", "--no-color", "--tail", "15"))
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self.compose("down", "--volumes", "--timeout", "5")

    def up(self, *options: str) -> None:
        """Start it, again if need be, and wait until it says that it is healthy."""
        self.compose("up", "--detach", *options, "jaeger", *self._beside)
        healthy = until(
            lambda: self._get(HEALTH, "/status"), "Jaeger is not healthy: " + self.compose("logs", "jaeger")
        )
        assert healthy.json()["healthy"]

    def kill(self) -> None:
        self.compose("kill", "--signal", "SIGKILL", "jaeger")

    def compose(self, *arguments: str) -> str:
        command = ["docker", "compose", *self._files, *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def send(self, *requests: ExportTraceServiceRequest) -> None:
        """Deliver spans as the services do."""
        with grpc.insecure_channel(self._addresses[OTLP]) as channel:
            for request in requests:
                TraceServiceStub(channel).Export(request, timeout=10)

    def spans(self, trace_id: str) -> list[str]:
        """The names of a trace's spans; none if Jaeger does not have it."""
        return names(self._get(QUERY, f"/api/v3/traces/{trace_id}"))

    def search(self, service: str) -> list[str]:
        """The names of all spans in the traces of a service."""
        # The names of the parameters are read in this spelling only.
        times = {"query.start_time_min": stamp(-3600), "query.start_time_max": stamp(3600)}
        query = {"query.service_name": service, "query.num_traces": "100", **times}
        return names(self._get(QUERY, "/api/v3/traces", query))

    def search_by_tag(self, service: str, tags: Mapping[str, str]) -> list[str]:
        """The ids of traces with a span of that service and these tags, by the API of Jaeger's own search page."""
        times = {"start": str(BEGIN_NS // 1000 - 10**9), "end": str(BEGIN_NS // 1000 + 10**9)}
        found = self._get(QUERY, "/api/traces", {"service": service, "tags": json.dumps(tags), **times})
        return [trace["traceID"] for trace in found.json()["data"]] if found else []

    def monitor(self, question: str, **parameters: str) -> httpx.Response:
        """What the Monitor page is told: calls, errors or latencies."""
        return self._http.get(f"http://{self._addresses[QUERY]}/api/metrics/{question}", params=parameters)

    def page(self, port: int, path: str = "/") -> str:
        return self._http.get(f"http://{self._addresses[port]}{path}").text

    def until_kept(self, trace_id: str) -> list[str]:
        return until(lambda: self.spans(trace_id), f"trace {trace_id} did not come")

    def _get(self, port: int, path: str, query: Mapping[str, str] | None = None) -> httpx.Response | None:
        """The answer; None if there is none yet, or if it is that nothing was found."""
        try:
            answer = self._http.get(f"http://{self._addresses[port]}{path}", params=query)
        except httpx.TransportError:
            return None
        if answer.status_code in {404, 503}:
            return None
        assert answer.status_code == 200, answer.text
        return answer


def until(ask: Callable[[], Found | None], otherwise: str) -> Found:
    """Ask until the answer is something."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends_at:
        if answer := ask():
            return answer
        time.sleep(POLL_SECONDS)
    raise AssertionError(otherwise)


def names(answer: httpx.Response | None) -> list[str]:
    resources = answer.json()["result"]["resourceSpans"] if answer else []
    return [span["name"] for resource in resources for scope in resource["scopeSpans"] for span in scope["spans"]]


def stamp(seconds: int) -> str:
    """That long after the spans of the tests began, as RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGIN_NS // 10**9 + seconds))
