"""The real card network as a process that tests start, kill and look into."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from chassis.testing import eventually
from conftest import free_port

ROOT = Path(__file__).parents[3]
# Nothing here speaks TLS, and reading the world's certificates takes longer than a call.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Network:
    """The card network on a free port, with a ledger that outlives it.

    Args:
        settings: beside its ports and its ledger.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "protos" / "generated"))),
            "HTTP_PORT": str(port),
            "ADMIN_PORT": str(free_port()),
            "LEDGER_PATH": str(folder / "ledger.jsonl"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": "",
            "LOG_LEVEL": "WARNING",
            **settings,
        }

    async def start(self) -> None:
        """Returns when it answers."""
        self._spawn()
        await eventually(self._answers, seconds_max=20)

    def _spawn(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "infra.card_network"], env=self._environment)

    def kill(self) -> None:
        """As a crash would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ask it to end; returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(10)

    async def find(self, key: object) -> dict[str, Any] | None:
        """What the network knows of a payment."""
        async with self._client() as client:
            response = await client.get(f"/charges/{key}")
        return response.json() if response.is_success else None

    async def charge(self, key: object, amount_minor: int, card_token: str) -> httpx.Response:
        """Charge past the payment service, as a call of an earlier attempt that arrives late."""
        body = {"amountMinor": amount_minor, "currencyCode": "EUR", "cardToken": card_token}
        async with self._client() as client:
            return await client.post("/charges", json=body, headers={"Idempotency-Key": str(key)})

    async def kept(self, key: object) -> int:
        """What it took for a payment and did not give back, in minor units."""
        charge = await self.find(key)
        return charge["amountMinor"] if charge is not None and charge["state"] == "CHARGED" else 0

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=10, verify=NO_CERTIFICATES)

    async def _answers(self) -> bool:
        assert self._process.poll() is None, "the card network ended"
        try:
            async with self._client() as client:
                return (await client.get("/charges")).is_success
        except httpx.TransportError:
            await asyncio.sleep(0.02)
            return False
