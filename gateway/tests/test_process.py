"""The gateway as a process: probes, settings, signals."""

import asyncio
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from grpc_health.v1 import health_pb2
from pydantic import ValidationError

from chassis import grpc_client
from conftest import free_port
from gateway import probes
from gateway.settings import GatewaySettings
from gateway.tests.upstream import Upstream

Serving = health_pb2.HealthCheckResponse.ServingStatus


async def test_the_gateway_is_ready_while_its_services_serve(client: httpx.AsyncClient, upstream: Upstream) -> None:
    assert (await client.get("/readyz")).json() == {"status": "ok"}

    await upstream.health.set("", Serving.NOT_SERVING)

    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    for name in ("order", "payment", "inventory"):
        assert name in answer.json()["detail"]
    assert (await client.get("/healthz")).status_code == 200


async def test_a_gateway_that_stops_is_not_ready(client: httpx.AsyncClient, stopping: asyncio.Event) -> None:
    stopping.set()

    assert (await client.get("/readyz")).status_code == 503


async def test_services_that_take_a_call_and_say_nothing_hold_up_no_answer() -> None:
    """Their ports are open, and nothing comes back: the gateway is not ready, and says so within two seconds."""
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _reader, writer: writers.append(writer), "127.0.0.1", 0)
    address = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    app = FastAPI()
    names = ("order", "payment", "inventory")
    async with silent, AsyncExitStack() as stack:
        channels = {name: await stack.enter_async_context(grpc_client.connect(address)) for name in names}
        probes.add_probes(app, channels, asyncio.Event())
        transport = httpx.ASGITransport(app)
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://gateway"))
        began = time.monotonic()
        answer = await client.get("/readyz")
        assert time.monotonic() - began < 2
    for writer in writers:
        writer.transport.abort()
    assert answer.status_code == 503
    for name in names:
        assert f"{name} does not answer" in answer.json()["detail"]


@pytest.mark.parametrize("template", ["http://traces.example/", "http://{host}/{trace_id}", "{trace_id"])
def test_a_trace_url_without_its_place_is_refused(template: str) -> None:
    with pytest.raises(ValidationError, match="trace_url_template"):
        GatewaySettings.model_validate({"admin_port": 1, "trace_url_template": template})


@pytest.fixture
def environment(upstream: Upstream) -> dict[str, str]:
    addresses = {f"{name}_ADDRESS": upstream.address for name in ("ORDER", "PAYMENT", "INVENTORY")}
    ports = {"HTTP_PORT": str(free_port()), "ADMIN_PORT": str(free_port())}
    return {**os.environ, **addresses, **ports, "OTEL_EXPORTER_OTLP_ENDPOINT": "", "PYTHONPATH": ".:protos/generated"}


async def _started(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", env=environment, stderr=asyncio.subprocess.PIPE
    )


@pytest.fixture
async def process(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await _started(environment)
    yield started
    if started.returncode is None:
        started.kill()
        await started.wait()


async def test_the_process_serves_measures_and_ends_on_sigterm(
    process: asyncio.subprocess.Process, environment: dict[str, str], upstream: Upstream
) -> None:
    upstream.watch_stays_open = True
    order_id = upstream.place()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{environment['HTTP_PORT']}", timeout=5) as client:
        await _until_ready(client, process)
        assert (await client.get(f"/v1/orders/{order_id}")).status_code == 200
        metrics = await asyncio.to_thread(_fetch, f"http://127.0.0.1:{environment['ADMIN_PORT']}/metrics")
        assert 'http_route="/v1/orders/{order_id}"' in metrics
        assert "http_server_request_duration_seconds_bucket" in metrics
        async with client.stream("GET", f"/v1/orders/{order_id}:watch", headers={"accept": "text/event-stream"}):
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 4) == 0
    assert process.stderr is not None
    logged = (await process.stderr.read()).decode()
    assert "Traceback" not in logged
    assert all(json.loads(line) for line in logged.splitlines())


async def _until_ready(client: httpx.AsyncClient, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(15):
        while process.returncode is None:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.ConnectError:
                pass
            await asyncio.sleep(0.05)
    raise AssertionError("the process ended early")


def _fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - an address of this test
        return answer.read().decode()


async def test_a_wrong_setting_is_named(environment: dict[str, str]) -> None:
    process = await _started({**environment, "HTTP_PORT": "seventy"})
    _, errors = await process.communicate()

    assert process.returncode == 2
    assert "HTTP_PORT" in errors.decode()
