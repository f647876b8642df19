"""The README's commands, typed as they stand there, on ports of their own."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from e2e.conftest import eventually
from infra.containers.system import PUBLISHED
from infra.local.ports import Ports
from infra.local.probes import free_ports

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
LINES = [line.split("  #")[0].strip() for block in BLOCKS for line in re.sub(r"\\\n\s*", "", block).splitlines()]
INLINE = re.findall(r"`(curl [^`]+)`", README)
COMPOSE = [line for line in LINES if re.match(r"(\w+=\w+ )?docker compose ", line)]
PSQL = [line for line in LINES if line.startswith("./shop psql ")]
PLAY = [line for line in LINES if line.startswith("./shop play ")]
CURL = [line for line in (*LINES, *INLINE) if line.startswith("curl ")]


def run(line: str, environment: dict[str, str], folder: Path = ROOT) -> str:
    command = ["bash", "-o", "pipefail", "-c", line.replace("curl ", "curl --silent --show-error --fail-with-body ")]
    done = subprocess.run(  # noqa: S603 - the README's own words
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_the_patterns_still_find_the_commands() -> None:
    """A README written otherwise does not turn this file into a test of nothing."""
    assert len(COMPOSE) >= 9
    assert len(CURL) >= 7
    assert len(PSQL) >= 3
    assert len(PLAY) >= 2
    assert {"make demo", "make start", "make status", "make stop"} <= set(LINES)


@pytest.fixture
def containers() -> Iterator[dict[str, str]]:
    ports = dict(zip(PUBLISHED, map(str, free_ports(len(PUBLISHED))), strict=True))
    environment = {"COMPOSE_PROJECT_NAME": f"shop-readme-{ports['GATEWAY_PORT']}", **ports}
    yield environment
    run("docker compose --profile '*' down --volumes", environment)


@pytest.mark.docker
async def test_every_compose_and_curl_command_works(containers: dict[str, str]) -> None:
    """In the order of the README: start, scale, break and mend, measure, ask, look; then stop and forget."""
    ends = [line for line in COMPOSE if re.search(r" (stop|down)\b", line)]
    for line in COMPOSE:
        if line not in ends:
            run(line, containers)
    ids: dict[str, str] = {}
    # A watch ends by itself once the order can change no more; one of the commands before it cancels the order.
    for line in sorted(CURL, key=lambda line: ":watch" in line):
        line = line.replace(":8080/", f":{containers['GATEWAY_PORT']}/")
        line = line.replace(":16686/", f":{containers['JAEGER_PORT']}/")
        for placeholder, value in ids.items():
            line = line.replace(placeholder, value)
        answer = run(line, containers)
        if "Idempotency-Key" in line:
            order = json.loads(answer.splitlines()[-1])
            ids = {"ORDER_ID": order["orderId"], "TRACE_ID": order["traceId"]}
            # Whoever types is slower than an order.
            where = f"http://127.0.0.1:{containers['GATEWAY_PORT']}/v1/orders/{order['orderId']}"
            await eventually(lambda where=where: confirmed(where), "the order is confirmed")
    for line in PLAY:
        assert "confirmed" in run(line, containers | {"SHOP_SYSTEM": "containers"}).lower()
    for line in PSQL:
        shown = run(line.replace("ORDER_ID", ids["ORDER_ID"]), containers | {"SHOP_SYSTEM": "containers"})
        assert "(0 rows)" not in shown, line
    for line in ends:
        run(line, containers)
    assert run("docker compose ps --all --quiet", containers) == ""


async def confirmed(where: str) -> bool:
    return json.loads(run(f"curl {where}", {}))["status"] == "CONFIRMED"


def test_the_embedded_commands_work(tmp_path: Path) -> None:
    """Started in the background, looked at, stopped; then the demonstration, which ends well only if its orders do."""
    for entry in ROOT.iterdir():
        if entry.name != ".run":
            (tmp_path / entry.name).symlink_to(entry)
    names = [f"{field.name.upper()}_PORT" for field in fields(Ports)]
    environment = dict(zip(names, map(str, free_ports(len(names))), strict=True))
    try:
        run("make start", environment, tmp_path)
        assert "gateway" in run("make status", environment, tmp_path)
    finally:
        run("make stop", environment, tmp_path)
    assert "CONFIRMED" in run("make demo ONCE=1", environment, tmp_path)
