"""Whatever commands and events come, in whatever order and however often: no piece appears, and none is lost."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple
from uuid import UUID, uuid5

from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop.inventory.v1.inventory_events_pb2 import ReservationRefused, StockReleased, StockReserved, StockReturned
from uuid_utils.compat import uuid7

from chassis.database import Sql
from chassis.errors import KeyReused, WrongState
from services.inventory.tests.driver import Driver

AVAILABLE = (4, 6)
_HELD_AND_GONE = Sql(
    "SELECT reservation_lines",
    """
    SELECT coalesce(sum(quantity) FILTER (WHERE state = 'HELD'), 0) AS held,
           coalesce(sum(quantity) FILTER (WHERE state = 'SHIPPED'), 0) AS shipped
    FROM reservation_lines JOIN reservations USING (order_id) WHERE sku = :sku
    """,
)
# What the newest event of an order says about the state of its reservation.
TOLD: dict[type[Message] | None, set[str | None]] = {
    None: {None},
    StockReserved: {"HELD", "SHIPPED"},
    ReservationRefused: {"REFUSED"},
    StockReleased: {"RELEASED"},
    StockReturned: {"RETURNED"},
}


class Step(NamedTuple):
    """One thing that happens: to order number `order`, or to the shelf."""

    kind: Literal["reserve", "release", "confirmed", "cancelled", "restock"]
    order: int
    repeat: int
    """Events of one number share their id, restocks of one number their request."""


STEPS = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(["reserve", "reserve", "release", "confirmed", "confirmed", "cancelled", "restock"]),
        order=st.integers(0, 2),
        repeat=st.integers(0, 1),
    ),
    max_size=16,
)
QUANTITIES = st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any)] * 3)


class World:
    """Three orders that want some of two articles."""

    def __init__(self, driver: Driver, skus: Sequence[str], quantities: Sequence[tuple[int, int]]) -> None:
        self.driver, self.skus, self.orders = driver, skus, [str(uuid7()) for _ in quantities]
        # Every other order names its articles the other way round.
        self.wanted = [
            {
                sku: quantity
                for sku, quantity in list(zip(skus, wanted, strict=True))[:: -1 if number % 2 else 1]
                if quantity
            }
            for number, wanted in enumerate(quantities)
        ]
        self.restocked = dict[tuple[str, int], int]()
        self.refused = list[tuple[tuple[str, int], int]]()

    async def take(self, step: Step) -> None:
        order_id, event_id = self.orders[step.order], self._event_id(step)
        match step.kind:
            case "reserve":
                await self.driver.reserve(order_id, self.wanted[step.order])
            case "release":
                try:
                    await self.driver.release(order_id)
                except WrongState:
                    assert await self.driver.state(order_id) in {"SHIPPED", "RETURNED"}
            case "confirmed":
                await self.driver.confirmed(order_id, event_id)
            case "cancelled":
                await self.driver.cancelled(order_id, event_id)
            case "restock":
                await self._restock(self.skus[step.order % 2], 1 + step.order, step.repeat)

    async def _restock(self, sku: str, quantity: int, request: int) -> None:
        try:
            await self.driver.restock(sku, quantity, f"request-{request}")
        except KeyReused:
            self.refused.append(((sku, request), quantity))
        else:
            assert self.restocked.setdefault((sku, request), quantity) == quantity

    async def check(self) -> None:
        """The shelf and the reservations agree, and so do the reservations and what the world was told."""
        for sku, begun in zip(self.skus, AVAILABLE, strict=True):
            shelf = await self.driver.shelf(sku)
            added = sum(quantity for (restocked, _), quantity in self.restocked.items() if restocked == sku)
            async with self.driver.database.single() as once:
                [row] = await once.all(_HELD_AND_GONE, sku=sku)
            assert shelf.held == row.held
            assert shelf.available + shelf.held + row.shipped == begun + added
        assert all(self.restocked[key] != quantity for key, quantity in self.refused)
        for order_id in self.orders:
            told = await self.driver.outbox(order_id)
            assert [one.sequence for one in told] == list(range(1, len(told) + 1))
            assert await self.driver.state(order_id) in TOLD[type(told[-1].event) if told else None]

    def _event_id(self, step: Step) -> UUID:
        return uuid5(UUID(self.orders[step.order]), f"{step.kind} {step.repeat}")


async def world(driver: Driver, quantities: Sequence[tuple[int, int]]) -> World:
    return World(driver, [await driver.article(available) for available in AVAILABLE], quantities)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, quantities=QUANTITIES)
async def test_one_after_the_other(driver: Driver, steps: list[Step], quantities: Any) -> None:
    made = await world(driver, quantities)
    for step in steps:
        await made.take(step)
        await made.check()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, quantities=QUANTITIES)
async def test_all_at_once(driver: Driver, steps: list[Step], quantities: Any) -> None:
    made = await world(driver, quantities)
    await asyncio.gather(*(made.take(step) for step in steps))
    await made.check()
