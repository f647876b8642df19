"""Orders at a fixed rate, whatever becomes of those before, and how each of them ended."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
from aiokafka import AIOKafkaConsumer

from infra.system import System

DECLINED_SHARE = 0.1
DRAIN_SECONDS_MAX = 120.0
RETRY_SECONDS = 0.2
SKU = "espresso-beans"
FINAL = {
    b"shop.order.v1.OrderConfirmed": "CONFIRMED",
    b"shop.order.v1.OrderRejected": "REJECTED",
    b"shop.order.v1.OrderCancelled": "CANCELLED",
}


@dataclass(slots=True)
class Placed:
    """One order of the load; times are seconds since the epoch."""

    due_at: float
    expected: str
    accepted_at: float | None = None
    order_id: str = ""
    ended_at: float | None = None
    outcome: str = ""
    # What the last POST that was not accepted was told.
    refusal: str = ""


class Load:
    """An open loop.

    Args:
        insist: repeat a POST that got no 202, under the same key, until it does; else the order counts as refused.
    """

    def __init__(self, system: System, rate_per_second: float, count: int, *, insist: bool = False) -> None:
        self._system, self._rate_per_second, self._count = system, rate_per_second, count
        self._insist = insist
        self._by_id: dict[str, Placed] = {}
        self._early: dict[str, tuple[str, float]] = {}
        self.orders: list[Placed] = []

    @property
    def accepted(self) -> list[Placed]:
        return [order for order in self.orders if order.accepted_at]

    @property
    def refusals(self) -> list[str]:
        """What was said instead of 202, for each order that was not accepted."""
        return [order.refusal for order in self.orders if not order.accepted_at]

    @property
    def ended(self) -> list[Placed]:
        return [order for order in self.orders if order.ended_at]

    def numbers(self) -> Iterator[int]:
        """The orders to place, one after the other; a subclass may show progress."""
        yield from range(self._count)

    async def run(self) -> None:
        """Place all orders and wait, bounded, until each has ended."""
        async with self.listening():
            await self.place()
            await self.drain(DRAIN_SECONDS_MAX)

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """Hears how orders end, as long as the block lasts."""
        consumer = AIOKafkaConsumer(
            "order.events",
            bootstrap_servers=self._system.kafka,
            group_id=None,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        async with consumer, asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self._listen(consumer))
            yield
            listening.cancel()

    async def place(self) -> None:
        """Place all orders; returns when each was answered."""
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        url = self._system.gateway_url
        async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits, trust_env=False) as client:
            began = time.time()
            async with asyncio.TaskGroup() as posts:
                for number in self.numbers():
                    due_at = began + number / self._rate_per_second
                    await asyncio.sleep(max(0.0, due_at - time.time()))
                    posts.create_task(self._post(client, number, due_at))

    async def drain(self, seconds_max: float) -> None:
        """Wait until each accepted order has ended, at most so long."""
        ends_at = time.time() + seconds_max
        while self._is_open() and time.time() < ends_at:  # noqa: ASYNC110 - what listens wakes nobody
            await asyncio.sleep(0.1)

    def _is_open(self) -> bool:
        return any(order.accepted_at and not order.ended_at for order in self.orders)

    async def _post(self, client: httpx.AsyncClient, number: int, due_at: float) -> None:
        declined = random.random() < DECLINED_SHARE  # noqa: S311 - a mix, not a secret
        order = Placed(due_at, "REJECTED" if declined else "CONFIRMED")
        self.orders.append(order)
        body = {
            "customerId": f"bench-{number % 1000}",
            "cardToken": "tok_declined" if declined else "tok_visa",
            "lines": [{"sku": SKU, "quantity": 1}],
        }
        key = str(uuid4())
        while isinstance(accepted := await _answer(client, body, key), str):
            order.refusal = accepted
            if not self._insist:
                return
            await asyncio.sleep(RETRY_SECONDS)
        order.accepted_at, order.order_id = time.time(), accepted["orderId"]
        self._by_id[order.order_id] = order
        if early := self._early.pop(order.order_id, None):
            order.outcome, order.ended_at = early

    async def _listen(self, consumer: AIOKafkaConsumer) -> None:
        """An order has ended when the event that says so was written: its `ce_time`, by this machine's clock."""
        async for record in consumer:
            headers = dict(record.headers)
            outcome = FINAL.get(headers["ce_type"])
            if outcome is None:
                continue
            ended_at = datetime.fromisoformat(headers["ce_time"].decode()).timestamp()
            order_id = headers["ce_subject"].decode()
            if order := self._by_id.get(order_id):
                order.outcome, order.ended_at = outcome, ended_at
            else:
                self._early[order_id] = (outcome, ended_at)


async def _answer(client: httpx.AsyncClient, body: Mapping[str, object], key: str) -> dict[str, Any] | str:
    """The accepted order, or what was said instead."""
    try:
        response = await client.post("/v1/orders", json=body, headers={"Idempotency-Key": key})
    except httpx.TransportError as error:
        return repr(error)
    return response.json() if response.status_code == 202 else f"{response.status_code} {response.text}"
