"""Prometheus as `compose.yaml` starts it finds the processes by name, scrapes them, and judges by its rules."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chassis.testing import eventually
from infra.containers.system import command
from infra.local.probes import free_ports
from infra.prometheus.tests.rules import FOLDER

pytestmark = pytest.mark.docker
ROOT = FOLDER.parents[1]
# Two processes started without those they depend on: the gateway is not ready then, the card network is.
STARTED = ("prometheus", "gateway", "card-network")


@pytest.fixture
def added(tmp_path: Path) -> Path:
    """A compose file that puts the shipped configuration in the server's place, but with shorter seconds."""
    for name in ("prometheus.yml", "alerts.yml"):
        hurried = (FOLDER / name).read_text()
        for interval in ("10s", "15s", "30s"):
            hurried = hurried.replace(f": {interval}", ": 1s")
        (tmp_path / name).write_text(hurried)
    # pytest makes a folder for its owner alone; the server runs as nobody.
    tmp_path.chmod(0o755)
    added = tmp_path / "compose.yaml"
    added.write_text(f'services: {{prometheus: {{volumes: ["{tmp_path}:/etc/prometheus:ro"]}}}}')
    return added


@pytest.fixture
async def prometheus(added: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """Its API; in a project and on ports of its own."""
    names = ("PROMETHEUS_PORT", "GATEWAY_PORT", "CARD_NETWORK_PORT")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    for name, port in ports.items():
        monkeypatch.setenv(name, str(port))
    files = ("--file", str(ROOT / "compose.yaml"), "--file", str(added))
    compose = ("docker", "compose", "--project-name", f"shop-metrics-{ports['PROMETHEUS_PORT']}", *files)
    try:
        await command(*compose, "--profile", "metrics", "up", "--detach", "--build", "--no-deps", *STARTED)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}/api/v1") as client:
            yield client
    finally:
        await command(*compose, "--profile", "metrics", "down", "--volumes", "--timeout", "3")


async def data(prometheus: httpx.AsyncClient, path: str, **parameters: str) -> Any:
    """What Prometheus answers; None while it does not."""
    try:
        answer = await prometheus.get(path, params=parameters)
    except httpx.TransportError:
        return None
    return answer.json()["data"] if answer.status_code == 200 else None


async def by_job(prometheus: httpx.AsyncClient, query: str) -> dict[str, float]:
    found = await data(prometheus, "/query", query=query)
    return {one["metric"]["job"]: float(one["value"][1]) for one in found["result"]} if found else {}


async def test_the_profile_scrapes_what_runs_and_alerts_about_what_does_not(prometheus: httpx.AsyncClient) -> None:
    """Jaeger and the services are absent: that disturbs no scrape, and is an alert where it should be one."""

    async def scrapes() -> bool:
        return await by_job(prometheus, "up") == {"gateway": 1.0, "card-network": 1.0, "jaeger": 0.0}

    async def says_who_is_ready() -> bool:
        return await by_job(prometheus, "shop_process_ready") == {"gateway": 0.0, "card-network": 1.0}

    async def misses_the_services() -> bool:
        found = await data(prometheus, "/alerts") or {"alerts": []}
        down = {alert["labels"]["job"] for alert in found["alerts"] if alert["labels"]["alertname"] == "ServiceDown"}
        return down == {"gateway", "order", "payment", "inventory"}

    await eventually(scrapes, seconds_max=60)
    await eventually(says_who_is_ready, seconds_max=30)
    await eventually(misses_the_services, seconds_max=30)

    for group in (await data(prometheus, "/rules"))["groups"]:
        for rule in group["rules"]:
            assert rule["health"] in {"ok", "unknown"}, rule["lastError"]
            if rule["type"] == "alerting":
                assert rule["labels"]["severity"] in {"page", "ticket"}
                assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    # Which library counted is not worth a label of every figure.
    [ready] = (await data(prometheus, "/query", query='shop_process_ready{job="gateway"}'))["result"]
    assert set(ready["metric"]) == {"__name__", "job", "instance"}
