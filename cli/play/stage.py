"""What a scenario can do, done to the running system: the `Stage` of `scenarios/scenario.py`."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

from cli.failures import NotAsExpected, Unknown
from cli.output import Output
from cli.play import letters
from cli.play.watching import Watched
from cli.rest import Rest
from cli.rpc import Rpc
from cli.systems.running import Running
from cli.traces import Traces, is_whole
from infra.local.drawing import timeline_line
from scenarios.scenario import BEANS, VISA, Deadlines, Placed, Spans

T = TypeVar("T")
Json = dict[str, Any]

CANCEL = "POST /v1/orders/{order_id}:cancel"
STEP_SECONDS_MAX = 15.0
READY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Wanted:
    """A trace to show beside those of the orders: the one with such a span about this order."""

    title: str
    order_id: str
    operation: str
    service: str
    told: Spans


class LiveStage:
    """One play of one scenario.

    Args:
        sides: whatever the play talks to: the services, the gateway, the trace store.
    """

    def __init__(
        self,
        customer: str,
        deadlines: Deadlines,
        out: Output,
        system: Running,
        sides: tuple[Rpc, Rest, Traces],
    ) -> None:
        self.customer, self.deadlines = customer, deadlines
        self.placed: dict[str, Placed] = {}
        self.watched: dict[str, Watched] = {}
        self.shown: list[Wanted] = []
        self.notes: dict[str, Any] = {}
        self.shelf: dict[str, Json] = {}
        self._out, self._system = out, system
        self.rpc, self._rest, self._traces = sides

    # ---- what is said ----

    def say(self, text: str) -> None:
        self._out.say(f"• {text}", style="bold")

    def note(self, name: str, value: Any) -> None:
        self.notes[name] = value

    def shows(self, title: str, order_id: str, operation: str, service: str, told: Spans) -> None:
        self.shown.append(Wanted(title, order_id, operation, service, told))

    def _entry(self, entry: Json, begin: datetime) -> None:
        if not self._out.as_json:
            self._out.console.print(timeline_line(entry, begin))

    # ---- what a customer does ----

    async def place(
        self, card_token: str = VISA, *, sku: str = BEANS, quantity: int = 2, key: str = "", follow: bool = True
    ) -> Placed:
        if sku not in self.shelf:
            self.shelf[sku] = await self.rpc.ask("inventory/GetStock", {"sku": sku})
        body = {
            "customerId": self.customer,
            "cardToken": card_token,
            "lines": [{"sku": sku, "quantity": quantity}],
        }
        answer, trace_id = await self._rest.post("/v1/orders", body, key or str(uuid4()))
        placed = Placed(answer["orderId"], trace_id)
        if follow:
            self.say(f"POST /v1/orders: {quantity} {sku} with {card_token} → 202, order {placed.order_id}")
        if placed.order_id not in self.watched:
            self.placed[placed.order_id] = placed
            self.watched[placed.order_id] = Watched(placed.order_id, self.rpc, self._entry if follow else None)
        return placed

    async def cancel(self, placed: Placed) -> None:
        self.say("POST …:cancel, as the customer")
        await self._rest.post(f"/v1/orders/{placed.order_id}:cancel", {})
        told = (("gateway", CANCEL), ("order", "shop.order.v1.OrderService/CancelOrder"))
        self.shows("the customer's cancel", placed.order_id, CANCEL, "gateway", told)

    async def heard(self, placed: Placed, event: str, *, within_seconds: float = STEP_SECONDS_MAX) -> None:
        await self.watched[placed.order_id].until(lambda order: event in order.events, event, within_seconds)

    async def ended(self, placed: Placed, *, within_seconds: float = STEP_SECONDS_MAX) -> None:
        await self.watched[placed.order_id].until(Watched.has_ended, "its end", within_seconds)

    def status(self, placed: Placed) -> str:
        return next(entry["status"] for entry in reversed(self.watched[placed.order_id].entries) if entry["status"])

    async def settled(self, placed: Placed, *, payment: str = "", reservation: str = "") -> None:
        asked = {"payment/GetPayment": payment, "inventory/GetReservation": reservation}
        for method, state in asked.items():
            if state:

                async def look(method: str = method, state: str = state) -> bool:
                    return (await self.found(method, placed.order_id)).get("state") == state

                await self._until(look, f"{method.partition('/')[0]} {state}")

    async def found(self, method: str, order_id: str) -> Json:
        """The payment or reservation of an order; empty if there is none."""
        try:
            return await self.rpc.ask(method, {"orderId": order_id})
        except Unknown:
            return {}

    # ---- what an operator does ----

    async def stocked(self, sku: str, quantity: int) -> None:
        item = await self.rpc.ask("inventory/GetStock", {"sku": sku})
        if (missing := quantity - int(item["available"])) > 0:
            self.say(f"puts {missing} more {sku} on the shelf first")
            request = {"sku": sku, "quantity": missing, "requestId": f"{self.customer}-{uuid4()}"}
            item = await self.rpc.ask("inventory/Restock", request)
        self.shelf[sku] = item

    async def available(self, sku: str) -> int:
        self.shelf[sku] = await self.rpc.ask("inventory/GetStock", {"sku": sku})
        return int(self.shelf[sku]["available"])

    async def call(self, method: str, request: Json) -> Json:
        answer, _ = await self.rpc.act(method, request)
        self.say(f"./shop call {method} '{json.dumps(request)}' → {answer.get('state', 'done')}")
        return answer

    async def parked(self, placed: Placed, *, within_seconds: float) -> Json:
        await self.heard(placed, "Parked", within_seconds=within_seconds)
        sagas = await self.rpc.pages("order/ListSagas", "sagas", {"parked": True})
        return next(saga for saga in sagas if saga["orderId"] == placed.order_id)

    async def retried(self, placed: Placed) -> None:
        self.say(f"./shop sagas retry {placed.order_id}, as an operator")
        await self.rpc.ask("order/RetrySaga", {"orderId": placed.order_id})

    @asynccontextmanager
    async def broken(self, part: str, how: str) -> AsyncGenerator[None]:
        words = {"stop": "stops", "freeze": "freezes", "down": "takes down"}
        self.say(f"{words[how]} {part}")
        # A real broker's start takes longer than a saga waits for a reservation; frozen it is away as well.
        real: Any = "freeze" if how == "down" and self._system.kind == "containers" else how
        async with self._system.broken(part, real):
            yield
            self.say(f"heals {part}")
        async with asyncio.timeout(READY_SECONDS_MAX):
            await self._system.ready(part)
        await self.rpc.forget(part)

    @asynccontextmanager
    async def replicas(self, **counts: int) -> AsyncGenerator[None]:
        before = {service: len(await self._system.replicas(service)) for service in counts}
        self.say(f"starts replicas: {', '.join(f'{count} of {name}' for name, count in counts.items())}")
        await self._system.scale(counts)
        try:
            yield
        finally:
            await self._system.scale(before)

    async def during(self, seconds: float, why: str) -> None:
        self.say(f"{why}, {seconds:g} s")
        ends_at = time.monotonic() + seconds
        with self._out.aside.status(why) as status:
            while (left := ends_at - time.monotonic()) > 0:
                status.update(f"{why}: {left:.0f} s")
                await asyncio.sleep(min(left, 0.25))

    # ---- Kafka, and the trace store ----

    async def copied(self, topic: str, placed: Placed, event: str) -> None:
        self.say(f"sends {event} once more: the same bytes, the same id")
        spans = await self._traces.until(
            placed.trace_id, lambda spans: any(span.name == f"send {topic} {event}" for span in spans), STEP_SECONDS_MAX
        )
        sent = next(span.attributes for span in spans if span.name == f"send {topic} {event}")
        partition, offset = int(sent["messaging.destination.partition.id"]), int(sent["messaging.kafka.offset"])
        await letters.copy(self._system.kafka, topic, partition, offset)

    async def published(self, topic: str, value: bytes, headers: Mapping[str, str], key: str) -> Json:
        sent = await letters.publish(self._system.kafka, topic, value, headers, key)
        self.say(f"writes a message to {topic}, partition {sent['partition']}, offset {sent['offset']}")
        return sent

    async def dead_letter(self, topic: str, event_id: str, *, copies: int = 1) -> Json:
        letter = await letters.dead(self._system.kafka, topic, event_id, copies)
        self.say(f"{letter['group']} buried it: dead letter {letter['id']}: {letter['reason']}")
        return letter

    async def redriven(self, letter: Json) -> None:
        self.say(f"./shop dead-letters redrive {letter['id']}")
        await letters.redrive(self._system.kafka, letter)

    async def told(self, order_id: str, operation: str, service: str, told: Spans) -> None:
        async def look() -> bool:
            found = await self._traces.search(service, operation, order_id)
            return bool(found) and is_whole(await self._traces.spans(found[0]), told)

        await self._until(look, f"what follows {operation} about order {order_id}")

    async def workers(self, placed: Placed, service: str, told: Spans) -> frozenset[str]:
        spans = await self._traces.until(placed.trace_id, lambda spans: is_whole(spans, told), STEP_SECONDS_MAX)
        return frozenset(span.instance for span in spans if span.service == service)

    async def _until(self, look: Callable[[], Awaitable[bool]], what: str, seconds: float = STEP_SECONDS_MAX) -> None:
        ends_at = time.monotonic() + seconds
        while not await look():
            if time.monotonic() > ends_at:
                raise NotAsExpected(f"Not within {seconds:g} s: {what}")
            await asyncio.sleep(POLL_SECONDS)

    async def close(self) -> None:
        """Stop following the orders."""
        await asyncio.gather(*(watched.close() for watched in self.watched.values()))
