"""The card network as a process, and a client that sends it what it must survive."""

import asyncio
import os
import re
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from uuid_utils.compat import uuid7

from chassis.testing import eventually
from conftest import free_port

ROOT = Path(__file__).parents[3]
# Nothing here speaks TLS, and reading the world's certificates takes longer than a call.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Network:
    """`python -m infra.card_network` on free ports; its ledger is `folder / "ledger.jsonl"`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port, self.ledger_path = free_port(), folder / "ledger.jsonl"
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "protos" / "generated"))),
            "HTTP_PORT": str(self.port),
            "ADMIN_PORT": str(free_port()),
            "LEDGER_PATH": str(self.ledger_path),
            "OTEL_EXPORTER_OTLP_ENDPOINT": "",
            "LOG_LEVEL": "WARNING",
            **settings,
        }

    async def start(self) -> None:
        """Returns when it answers."""
        self._spawn()
        await eventually(self._answers, seconds_max=20)

    def memory_mib(self) -> float:
        """The most that the process has held."""
        [line] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self._process.pid}/status").read_text())
        return int(line) / 1024

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        self._process.terminate()
        return self._process.wait(10)

    async def call(self, method: str, path: str, *, timeout_seconds: float = 10, **content: Any) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, timeout=timeout_seconds, verify=NO_CERTIFICATES) as client:
            return await client.request(method, path, **content)

    async def charge(
        self, key: str, card_token: str = "tok_visa", amount_minor: int = 500, *, timeout_seconds: float = 10
    ) -> httpx.Response:
        body = {"amountMinor": amount_minor, "currencyCode": "EUR", "cardToken": card_token}
        headers = {"Idempotency-Key": key}
        return await self.call("POST", "/charges", timeout_seconds=timeout_seconds, json=body, headers=headers)

    async def void(self, key: str) -> str:
        return (await self.call("POST", f"/charges/{key}/void")).json()["state"]

    async def state(self, key: str) -> str | None:
        answer = await self.call("GET", f"/charges/{key}")
        return answer.json()["state"] if answer.is_success else None

    def _spawn(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "infra.card_network"], env=self.environment)

    async def _answers(self) -> bool:
        assert self._process.poll() is None, "the card network ended"
        try:
            return (await self.call("GET", "/charges")).is_success
        except httpx.TransportError:
            return False


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    started = Network(tmp_path_factory.mktemp("network"), SLOW_SECONDS="0.8", SILENCE_SECONDS="1.5")
    asyncio.run(started.start())
    yield started
    assert started.stop() == 0


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[[], Network]]:
    """Makes card networks, not started yet, that share a ledger; they are killed at the end."""
    made: list[Network] = []

    def make() -> Network:
        made.append(Network(tmp_path))
        return made[-1]

    yield make
    for network in made:
        network.kill()


@pytest.fixture
def key() -> str:
    """A new idempotency key."""
    return str(uuid7())
