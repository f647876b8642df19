"""What waits, as each replica of each part says it on its admin port; one round at a time, shared by all who ask.

/explorer/replicas ─▶ names to addresses ─▶ /metrics of each, side by side ─▶ the figures that the page shows
"""

import asyncio
import socket
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from explorer.client import Away, Client, TooLarge

# What is asked for, as Prometheus spells it.
FIGURES: Final = (
    "shop_process_ready",
    "shop_outbox_backlog",
    "shop_outbox_backlog_age_seconds",
    "shop_command_outbox_backlog",
    "shop_command_outbox_backlog_age_seconds",
    "shop_saga_parked",
    "shop_dead_letters_total",
    "shop_consumer_lag",
    "shop_payments_open_intents",
    "shop_payments_open_refunds",
    "shop_payments_oldest_open_refund_age_seconds",
)
_SECONDS_MAX: Final = 2.0
_SHARED_SECONDS: Final = 1.0

Json = dict[str, Any]


class Replicas:
    """The replicas of the parts at these addresses, `host:port` each; a name may stand for several."""

    def __init__(self, addresses: Mapping[str, str], client: Client) -> None:
        self._addresses, self._client = addresses, client
        self._round = asyncio.Lock()
        self._answer: list[Json] = []
        self._answered_at = float("-inf")

    async def all(self, _request: Request) -> Response:
        """Every replica with its figures, or with what is wrong with it."""
        return JSONResponse({"replicas": await self.known()}, headers={"cache-control": "no-store"})

    async def known(self) -> list[Json]:
        """The rows, not older than a second."""
        now = asyncio.get_running_loop().time
        async with self._round:
            if now() - self._answered_at > _SHARED_SECONDS:
                found = await asyncio.gather(*(self._part(*part) for part in self._addresses.items()))
                self._answer, self._answered_at = [each for part in found for each in part], now()
        return self._answer

    async def _part(self, service: str, address: str) -> list[Json]:
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(_SECONDS_MAX):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError) as error:
            return [_row(service, address, f"its name is not known ({error})")]
        # A replica that has an address of each family is one replica.
        hosts = sorted({sockaddr[0] for family, _, _, _, sockaddr in found if family == found[0][0]})
        return await asyncio.gather(*(self._replica(service, _joined(str(each), port)) for each in hosts))

    async def _replica(self, service: str, replica: str) -> Json:
        try:
            answer = await self._client.get(f"http://{replica}/metrics", seconds_max=_SECONDS_MAX)
        except Away as away:
            return _row(service, replica, str(away))
        except TooLarge:
            return _row(service, replica, "its answer is too large")
        if answer.status != HTTPStatus.OK:
            return _row(service, replica, f"it answers {answer.status}")
        return _row(service, replica, None, figures(answer.body.decode()))


def _joined(host: str, port: str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _row(service: str, replica: str, error: str | None, figures: Json | None = None) -> Json:
    return {"service": service, "replica": replica, "error": error, "figures": figures or {}}


def figures(metrics: str) -> dict[str, list[Json]]:
    """What the page shows of a replica's metrics; labels of the library that counted are left out."""
    # Most lines are histograms; parsing all of them would cost a hundred times as much.
    wanted = [line for line in metrics.splitlines() if line.partition("{")[0].partition(" ")[0] in FIGURES]
    found: dict[str, list[Json]] = {}
    for family in text_string_to_metric_families("\n".join(wanted) + "\n"):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if not name.startswith("otel_scope_")}
            found.setdefault(sample.name, []).append({"labels": labels, "value": sample.value})
    return found
