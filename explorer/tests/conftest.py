"""The gateway's fixtures: real gRPC servers, and the gateway before them; and a real trace store that it looks at."""

import threading
from collections.abc import Iterator

import pytest

from conftest import free_port
from gateway.settings import GatewaySettings
from gateway.tests.conftest import app, client, exporter, served, spans, stopping, upstream
from gateway.tests.conftest import settings as gateway_settings
from infra.local.trace_api import TraceApi
from infra.local.trace_store import TraceStore

__all__ = ["app", "client", "exporter", "gateway_settings", "served", "spans", "stopping", "upstream"]


@pytest.fixture
def store() -> Iterator[TraceApi]:
    """The embedded trace store, which tests fill."""
    api = TraceApi("127.0.0.1", free_port(), TraceStore(1024 * 1024))
    serving = threading.Thread(target=api.serve_forever, args=(0.01,), daemon=True)
    serving.start()
    yield api
    api.shutdown()
    api.server_close()
    serving.join(5)


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def settings(gateway_settings: GatewaySettings, store: TraceApi) -> GatewaySettings:
    looks_at = {"trace_store": "embedded", "trace_store_url": store.url}
    return GatewaySettings.model_validate(gateway_settings.model_dump() | looks_at)
