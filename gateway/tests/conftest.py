"""A gateway in front of real gRPC servers: in memory for one request and its answer, on a real port for the rest."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from shop.inventory.v1 import inventory_service_pb2
from shop.order.v1 import order_service_pb2
from shop.payment.v1 import payment_service_pb2
from starlette.types import ASGIApp

from chassis import grpc_client
from conftest import free_port
from explorer.client import Client
from gateway import openapi
from gateway.app import PROTO_IMAGE, create_app
from gateway.comments import comments
from gateway.examples import examples
from gateway.rules import rules
from gateway.server import serve
from gateway.settings import GatewaySettings
from gateway.tests import upstream as upstreams
from gateway.tests.upstream import Upstream

SERVICES: Mapping[str, ServiceDescriptor] = {
    "order": order_service_pb2.DESCRIPTOR.services_by_name["OrderService"],
    "payment": payment_service_pb2.DESCRIPTOR.services_by_name["PaymentService"],
    "inventory": inventory_service_pb2.DESCRIPTOR.services_by_name["InventoryService"],
}


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """Every span of the test process; the provider may have been installed by other tests."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    memory = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return memory


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


@pytest.fixture
async def upstream(exporter: InMemorySpanExporter) -> AsyncIterator[Upstream]:
    """The services; tests change what they know."""
    known = Upstream()
    server = await upstreams.serve(known)
    yield known
    await server.stop(0)


@pytest.fixture
def settings() -> GatewaySettings:
    return GatewaySettings.model_validate(
        {
            "admin_port": free_port(),
            "http_port": free_port(),
            "trace_url_template": "http://traces.example/trace/{trace_id}",
            "call_deadline_seconds": 3,
            "stream_open_seconds": 0.3,
            "stream_keep_alive_seconds": 0.2,
            "body_seconds_max": 0.3,
            "calls_max": 5,
            "streams_max": 2,
        }
    )


@pytest.fixture
def stopping() -> asyncio.Event:
    return asyncio.Event()


@asynccontextmanager
async def _gateway(settings: GatewaySettings, address: str, stopping: asyncio.Event) -> AsyncGenerator[ASGIApp, None]:
    async with AsyncExitStack() as channels:
        services = {
            name: (service, await channels.enter_async_context(grpc_client.connect(address)))
            for name, service in SERVICES.items()
        }
        yield create_app(settings, services, stopping, await channels.enter_async_context(Client()))


@pytest.fixture
async def app(settings: GatewaySettings, upstream: Upstream, stopping: asyncio.Event) -> AsyncIterator[ASGIApp]:
    async with _gateway(settings, upstream.address, stopping) as application:
        yield application


@pytest.fixture
async def client(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """Requests straight into the application."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as requests:
        yield requests


@pytest.fixture
async def served(app: ASGIApp, settings: GatewaySettings, stopping: asyncio.Event) -> AsyncIterator[httpx.AsyncClient]:
    """Requests over TCP to the gateway behind its real server."""
    serving = asyncio.create_task(serve(app, settings, stopping))
    address = f"http://{settings.host}:{settings.http_port}"
    async with httpx.AsyncClient(base_url=address, timeout=5) as requests:
        await _until_listening(settings, serving)
        yield requests
    stopping.set()
    await asyncio.wait_for(serving, 5)


async def _until_listening(settings: GatewaySettings, serving: asyncio.Task[None]) -> None:
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection(settings.host, settings.http_port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        await writer.wait_closed()
        return
    await serving


@pytest.fixture
def order() -> Callable[..., dict[str, Any]]:
    """A good body for POST /v1/orders, with changes."""

    def body(**changes: Any) -> dict[str, Any]:
        good = {"customerId": "ada", "cardToken": "tok_visa", "lines": [{"sku": "espresso-beans", "quantity": 2}]}
        return {**good, **changes}

    return body


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    """The gateway's own description of what it serves."""
    return openapi.document(rules(SERVICES.values()), comments(PROTO_IMAGE), examples(PROTO_IMAGE))
