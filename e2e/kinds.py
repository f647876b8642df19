"""The kinds of orders: how each is played from outside, how it ends, and when its trace has told everything."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from e2e.conftest import Shop, Span, eventually
from infra.local.system import System as Embedded
from infra.system import System

ERROR = 2
SILENT = "silent card"
POST, CANCEL = "POST /v1/orders", "POST /v1/orders/{order_id}:cancel"

# Of the process that speaks last: service and name of the span.
Last = tuple[tuple[str, str], ...]
SHIPPED: Last = (("inventory", "process order.events OrderConfirmed"),)
REJECTED: Last = (("order", "send order.events OrderRejected"),)
HEARD_CANCELLED: Last = (
    ("payment", "process order.events OrderCancelled"),
    ("inventory", "process order.events OrderCancelled"),
)
GAVE_BACK: Last = (("order", "saga heard PaymentRefunded"), ("order", "saga heard StockReturned"))


@dataclass(frozen=True)
class Played:
    """An order that has ended; `further_trace_ids` are those of the requests about it that came after its POST."""

    order_id: str
    trace_id: str
    further_trace_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """One kind of order.

    shows: what a reader of its trace sees.
    last: the spans that come last; once they are there, the trace has told everything.
    alone: playing it takes a part away from every other order too.
    """

    name: str
    shows: str
    begin: Callable[[Shop], Awaitable[Played]]
    status: str
    reason: str | None
    last: Last
    alone: bool = False

    async def play(self, shop: Shop) -> Played:
        """Place the order and do what belongs to its kind; returns once it has ended as it should."""
        played = await self.begin(shop)
        order = await shop.ended(played.order_id, seconds=60)
        assert (order["status"], order.get("reason")) == (self.status, self.reason), self.name
        return played

    def is_told(self, spans: list[Span]) -> bool:
        """Whether the order's trace is complete: `await shop.trace(played.trace_id, until=kind.is_told)`."""
        there = {(span.service, span.name) for span in spans}
        return there.issuperset(self.last)


async def play_all(shop: Shop) -> dict[str, Played]:
    """Every kind once, by name. One after the other, so that each is applied alone, but beside the slowest."""
    slowest = BY_NAME[SILENT]
    silence = asyncio.create_task(slowest.play(shop))
    played = {kind.name: await kind.play(shop) for kind in KINDS if kind is not slowest and not kind.alone}
    played[SILENT] = await silence
    return played | {kind.name: await kind.play(shop) for kind in KINDS if kind.alone}


def _with(card_token: str = "tok_visa", sku: str = "espresso-beans") -> Callable[[Shop], Awaitable[Played]]:
    async def begin(shop: Shop) -> Played:
        placed = await shop.place(card_token, sku)
        return Played(placed["orderId"], placed["traceId"])

    return begin


async def _cancelled_while_pending(shop: Shop) -> Played:
    placed = await shop.place("tok_slow")
    await shop.heard(placed["orderId"], "StockReserved")
    await shop.cancel(placed["orderId"])
    return await _with_requests(shop, placed["orderId"], placed["traceId"], CANCEL)


async def _cancelled_when_confirmed(shop: Shop) -> Played:
    placed = await shop.place()
    await shop.ended(placed["orderId"])

    async def shipped() -> set[str]:
        return await shop.traces_of(placed["orderId"], "process order.events OrderConfirmed", "inventory")

    # A cancel that comes sooner finds goods to release, not to take back.
    await eventually(shipped, "the goods are shipped")
    await shop.cancel(placed["orderId"])
    return await _with_requests(shop, placed["orderId"], placed["traceId"], CANCEL)


async def _repeated(shop: Shop) -> Played:
    key = str(uuid4())
    placed = await shop.place(key=key)
    await shop.ended(placed["orderId"])
    assert await shop.place(key=key) == placed
    return await _with_requests(shop, placed["orderId"], placed["traceId"], POST)


async def _deadline_passed(shop: Shop) -> Played:
    await shop.system.pause("inventory")
    try:
        placed = await shop.place()
        await shop.trace(placed["traceId"], until="saga deadline", seconds=60)
    finally:
        await shop.system.resume("inventory")
    return Played(placed["orderId"], placed["traceId"])


async def _kafka_away(shop: Shop) -> Played:
    async with kafka_away(shop.system):
        placed = await shop.place()

        def sent_in_vain(spans: list[Span]) -> bool:
            return any(span.name.startswith("send ") and span.status == ERROR for span in spans)

        await shop.trace(placed["traceId"], until=sent_in_vain)
    return Played(placed["orderId"], placed["traceId"])


@asynccontextmanager
async def kafka_away(system: System) -> AsyncGenerator[None]:
    """No broker answers inside the block; after it one does, with everything it had."""
    if isinstance(system, Embedded):
        await system.broker_down()
        try:
            yield
        finally:
            await system.broker_up()
    else:
        # Its start would take as long as a saga waits for a reservation.
        await system.pause("kafka")
        try:
            yield
        finally:
            await system.resume("kafka")


async def _with_requests(shop: Shop, order_id: str, trace_id: str, operation: str) -> Played:
    """The order with the traces of such requests about it that came after its POST."""

    async def look() -> set[str]:
        return await shop.traces_of(order_id, operation) - {trace_id}

    return Played(order_id, trace_id, tuple(sorted(await eventually(look, f"the trace of {operation}"))))


BY_CUSTOMER = "CANCELLED_BY_CUSTOMER"
KINDS = (
    Kind("confirmed", "Stock is reserved, the card charged, the goods leave.", _with(), "CONFIRMED", None, SHIPPED),
    Kind(
        "out of stock",
        "Inventory refuses, so nothing has to be undone.",
        _with(sku="sold-out"),
        "REJECTED",
        "OUT_OF_STOCK",
        REJECTED,
    ),
    Kind(
        "declined card",
        "The network declines, and the saga gives the goods back.",
        _with("tok_declined"),
        "REJECTED",
        "PAYMENT_DECLINED",
        REJECTED,
    ),
    Kind("slow card", "The charge takes its time, and shows it.", _with("tok_slow"), "CONFIRMED", None, SHIPPED),
    Kind("flaky card", "Two tries fail, the third charges.", _with("tok_flaky"), "CONFIRMED", None, SHIPPED),
    Kind(
        "lost answer",
        "The network charges but its answer is lost; payment asks before it tries again.",
        _with("tok_lost_answer"),
        "CONFIRMED",
        None,
        SHIPPED,
    ),
    Kind(
        SILENT,
        "The network says nothing for so long that the saga turns back and wants the money back.",
        _with("tok_silent"),
        "REJECTED",
        "PAYMENT_TIMED_OUT",
        REJECTED,
    ),
    Kind(
        "cancelled while pending",
        "The customer cancels during the charge, and the saga undoes what it began.",
        _cancelled_while_pending,
        "CANCELLED",
        BY_CUSTOMER,
        HEARD_CANCELLED,
    ),
    Kind(
        "cancelled when confirmed",
        "The customer cancels after the goods have left; payment and inventory hear it and give back.",
        _cancelled_when_confirmed,
        "CANCELLED",
        BY_CUSTOMER,
        GAVE_BACK,
    ),
    Kind(
        "repeated POST",
        "A client asks again with the same key; the repeat is a small trace that links to the first.",
        _repeated,
        "CONFIRMED",
        None,
        SHIPPED,
    ),
    Kind(
        "deadline of a step",
        "Inventory does not answer within the step's deadline, and the saga turns back.",
        _deadline_passed,
        "REJECTED",
        "RESERVATION_TIMED_OUT",
        REJECTED,
        alone=True,
    ),
    Kind(
        "Kafka away and back",
        "Events wait in the outbox and are sent again until Kafka has them.",
        _kafka_away,
        "CONFIRMED",
        None,
        SHIPPED,
        alone=True,
    ),
)
BY_NAME = {kind.name: kind for kind in KINDS}
