"""The shop's own processes as parts: their modules, and the settings that each gets by its environment."""

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from infra.local.broker import FETCH_WAIT_MS_MAX
from infra.local.part import Part, Process
from infra.local.ports import Ports
from infra.local.postgres import Postgres
from infra.local.probes import http_ok

ROOT = Path(__file__).resolve().parent.parent.parent

_HOST = "127.0.0.1"


def traces(ports: Ports) -> Part:
    url = f"http://{_HOST}:{ports.traces}"
    return Part(
        name="traces",
        address=f"{url}/  spans to {_HOST}:{ports.otlp}",
        command=_module("infra.local.traces", "--otlp-port", str(ports.otlp), "--port", str(ports.traces)),
        until_ready=_http(f"{url}/api/v3/services"),
        environment=_environment({}),
    )


def broker(until_ready: Callable[[Process], Awaitable[None]]) -> Part:
    return Part(
        name="broker",
        address="Kafka, in memory",
        command=_module("infra.local.broker"),
        until_ready=until_ready,
        environment=_environment({}),
        talks=True,
        fatal="the messages were in its memory, so that the system cannot go on without it",
    )


def card_network(ports: Ports, ledger_path: Path) -> Part:
    own = {"HTTP_PORT": str(ports.card_network), "LEDGER_PATH": str(ledger_path)}
    return _process("card-network", "infra.card_network", ports, ports.card_network_admin, own)


def service(name: str, ports: Ports, postgres: Postgres, kafka: str) -> Part:
    own = {
        "GRPC_PORT": str(getattr(ports, f"{name}_grpc")),
        "DATABASE_URL": postgres.database_url(name),
        "DATABASE_OWNER_URL": postgres.database_url(name, f"{name}_owner"),
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "KAFKA_FETCH_MAX_WAIT_MS": str(FETCH_WAIT_MS_MAX),
        # After a kill the mock broker keeps the dead member's partitions for nearly two of these.
        "KAFKA_SESSION_TIMEOUT_MS": "3000",
        "CARD_NETWORK_URL": f"http://{_HOST}:{ports.card_network}",
    }
    return _process(name, f"services.{name}", ports, getattr(ports, f"{name}_admin"), own | _addresses(ports))


def gateway(ports: Ports) -> Part:
    own = {
        "HTTP_PORT": str(ports.gateway),
        "TRACE_URL_TEMPLATE": f"http://{_HOST}:{ports.traces}/trace/{{trace_id}}",
        "TRACE_STORE_URL": f"http://{_HOST}:{ports.traces}",
        "TRACE_STORE": "embedded",
        "GATEWAY_ADMIN_ADDRESS": f"{_HOST}:{ports.gateway_admin}",
        "ORDER_ADMIN_ADDRESS": f"{_HOST}:{ports.order_admin}",
        "PAYMENT_ADMIN_ADDRESS": f"{_HOST}:{ports.payment_admin}",
        "INVENTORY_ADMIN_ADDRESS": f"{_HOST}:{ports.inventory_admin}",
        "CARD_NETWORK_ADMIN_ADDRESS": f"{_HOST}:{ports.card_network_admin}",
    }
    return _process("gateway", "gateway", ports, ports.gateway_admin, own | _addresses(ports))


def _process(name: str, module: str, ports: Ports, admin_port: int, own: Mapping[str, str]) -> Part:
    admin_url = f"http://{_HOST}:{admin_port}"
    common = {
        "HOST": _HOST,
        "ADMIN_PORT": str(admin_port),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{_HOST}:{ports.otlp}",
        # All processes share this machine's clock.
        "TRACE_IP": _HOST,
    }
    port = own.get("HTTP_PORT") or own["GRPC_PORT"]
    return Part(
        name=name,
        address=f"{_HOST}:{port}  metrics {admin_url}/metrics",
        grpc=f"{_HOST}:{own['GRPC_PORT']}" if "GRPC_PORT" in own else "",
        command=_module(module),
        until_ready=_http(f"{admin_url}/readyz"),
        environment=_environment({**common, **own}),
    )


def _addresses(ports: Ports) -> dict[str, str]:
    """Where the gateway and the services find each other by gRPC."""
    return {
        "ORDER_ADDRESS": f"{_HOST}:{ports.order_grpc}",
        "PAYMENT_ADDRESS": f"{_HOST}:{ports.payment_grpc}",
        "INVENTORY_ADDRESS": f"{_HOST}:{ports.inventory_grpc}",
    }


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *arguments)


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """Over the runner's own, so that a person can set what is not set here: LOG_LEVEL, TRACE_SAMPLE_RATIO."""
    import_path = (str(ROOT), str(ROOT / "protos" / "generated"), os.environ.get("PYTHONPATH"))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, import_path)),
        "PYTHONUNBUFFERED": "1",
        **own,
    }


def _http(url: str) -> Callable[[Process], Awaitable[None]]:
    async def until_ready(_: Process) -> None:
        await http_ok(url)()

    return until_ready
