"""The example orders: placed through the REST API, watched until their end, and read back with timeline and trace."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from infra.owed import owed

_ORDER_SECONDS = 90.0
_REQUEST_SECONDS = 15.0
_TRACE_SECONDS = 15.0
_TRACE_POLL_SECONDS = 0.25
# A trace is complete when nothing came for this long: a good deal more than the processes hold a finished span back.
_TRACE_QUIET_SECONDS = 1.5

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Example:
    """An order to place, and how it should end."""

    title: str
    sku: str = "espresso-beans"
    quantity: int = 2
    card_token: str = "tok_visa"  # noqa: S105 - a name the card network knows, no secret
    status: str = "CONFIRMED"
    reason: str | None = None
    cancelled_when_confirmed: bool = False


EXAMPLES = (
    Example(title="paid and shipped"),
    Example(title="card declined", card_token="tok_declined", status="REJECTED", reason="PAYMENT_DECLINED"),  # noqa: S106
    Example(title="out of stock", sku="sold-out", quantity=1, status="REJECTED", reason="OUT_OF_STOCK"),
    Example(title="card network fails twice", card_token="tok_flaky"),  # noqa: S106
    Example(title="charged, but the answer is lost", card_token="tok_lost_answer"),  # noqa: S106
    Example(
        title="cancelled after confirmation",
        cancelled_when_confirmed=True,
        status="CANCELLED",
        reason="CANCELLED_BY_CUSTOMER",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an example.

    ended_at: on the monotonic clock; `seconds` is how long that was after the order was placed.
    trace: the query API's answer, None if it had none.
    """

    example: Example
    order: Json
    timeline: Sequence[Json]
    trace: Json | None
    ended_at: float
    seconds: float

    @property
    def is_as_expected(self) -> bool:
        return (self.order["status"], self.order.get("reason")) == (self.example.status, self.example.reason)


async def place_examples(gateway_url: str, traces_url: str) -> list[Outcome]:
    """Places all examples at the same time; returns when each has ended and its trace is complete."""
    async with Demo(gateway_url, traces_url) as demo:
        return list(await asyncio.gather(*(demo.outcome(example) for example in EXAMPLES)))


class Demo:
    """Talks to the gateway and the trace store as any client would."""

    def __init__(self, gateway_url: str, traces_url: str) -> None:
        timeout = httpx.Timeout(_REQUEST_SECONDS)
        self._gateway = httpx.AsyncClient(base_url=gateway_url, timeout=timeout, trust_env=False)
        self._traces = httpx.AsyncClient(base_url=traces_url, timeout=timeout, trust_env=False)

    async def __aenter__(self) -> "Demo":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._gateway.aclose()
        await self._traces.aclose()

    async def outcome(self, example: Example) -> Outcome:
        begin = time.monotonic()
        placed = await self._placed(example)
        path = f"/v1/orders/{placed['orderId']}"
        async with asyncio.timeout(_ORDER_SECONDS):
            await self._until(path, {"CONFIRMED", "REJECTED", "CANCELLED"})
            if example.cancelled_when_confirmed:
                (await self._gateway.post(f"{path}:cancel", json={})).raise_for_status()
                await self._until(path, {"CANCELLED"})
        ended_at = time.monotonic()
        async with asyncio.timeout(_ORDER_SECONDS):
            timeline = await self._complete_timeline(path)
        return Outcome(
            example=example,
            order=await self._read(path),
            timeline=timeline,
            trace=await self._complete_trace(placed["traceId"]),
            ended_at=ended_at,
            seconds=ended_at - begin,
        )

    async def _placed(self, example: Example) -> Json:
        body = {
            "customerId": "ada",
            "cardToken": example.card_token,
            "lines": [{"sku": example.sku, "quantity": example.quantity}],
        }
        answer = await self._gateway.post("/v1/orders", json=body)
        answer.raise_for_status()
        return answer.json()

    async def _until(self, order_path: str, statuses: set[str]) -> None:
        """Reads the order's stream of timeline entries until one says such a status."""
        headers = {"Accept": "application/x-ndjson"}
        silence = httpx.Timeout(_REQUEST_SECONDS, read=_ORDER_SECONDS)
        async with self._gateway.stream("GET", f"{order_path}:watch", headers=headers, timeout=silence) as stream:
            stream.raise_for_status()
            async for line in stream.aiter_lines():
                if line and json.loads(line).get("status") in statuses:
                    return

    async def _complete_timeline(self, order_path: str) -> Sequence[Json]:
        """The timeline once what a cancelled order is owed is on it: refund and return follow its end."""
        while True:
            order, timeline = await self._read(order_path), (await self._read(f"{order_path}/timeline"))["entries"]
            if order["status"] != "CANCELLED" or not owed(timeline):
                return timeline
            await asyncio.sleep(_TRACE_POLL_SECONDS)

    async def _complete_trace(self, trace_id: str) -> Json | None:
        """The trace once no span has come for a while; processes export a little after the fact."""
        size, changed, begin = -1, time.monotonic(), time.monotonic()
        while True:
            answer = await self._traces.get(f"/api/v3/traces/{trace_id}")
            now = time.monotonic()
            if len(answer.content) != size:
                size, changed = len(answer.content), now
            if now - changed > _TRACE_QUIET_SECONDS or now - begin > _TRACE_SECONDS:
                return answer.json() if answer.is_success else None
            await asyncio.sleep(_TRACE_POLL_SECONDS)

    async def _read(self, path: str) -> Json:
        answer = await self._gateway.get(path)
        answer.raise_for_status()
        return answer.json()
