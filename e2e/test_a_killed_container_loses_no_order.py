"""kill -9 of each container in turn, the stores included, while orders arrive at a steady rate."""

import asyncio

import pytest

from e2e.conftest import Shop, eventually, on_containers
from infra.bench.books import audit, shelf
from infra.bench.load import Load, Placed
from infra.containers.system import System as Containers

RATE_PER_SECOND = 10
ORDERS = 100
HEALED_SECONDS_MAX = 60
VICTIMS = ("order", "payment", "inventory", "gateway", "card-network", "postgres", "kafka", "jaeger")
TIMED_OUT = ("RESERVATION_TIMED_OUT", "PAYMENT_TIMED_OUT")


@on_containers
@pytest.mark.parametrize("victim", VICTIMS)
async def test_a_killed_container_loses_no_order(shop: Shop, containers: Containers, victim: str) -> None:
    """A minute after the heal each order has ended as its card dictates, or by a timeout, and all books balance."""
    shelf_before = await shelf(containers)
    load = Load(containers, RATE_PER_SECOND, ORDERS, insist=True)

    async def offered(orders: int) -> None:
        await eventually(lambda: asyncio.sleep(0, len(load.orders) >= orders), f"{orders} orders are offered")

    async with load.listening():
        placing = asyncio.create_task(load.place())
        await offered(ORDERS // 3)
        await containers.crash(victim)
        # Some seconds of orders come while it is away.
        await offered(ORDERS * 2 // 3)
        await containers.recover(victim)
        await containers.ready(victim)
        await placing
        await load.drain(HEALED_SECONDS_MAX)
    assert len(load.accepted) == ORDERS
    assert [order for order in load.accepted if not order.ended_at] == []

    async def as_it_should(order: Placed) -> bool:
        if order.outcome == order.expected:
            return True
        # A part that is away for longer than a saga waits costs the order, never money or goods.
        return (await shop.order(order.order_id)).get("reason") in TIMED_OUT

    assert [order for order in load.accepted if not await as_it_should(order)] == []
    books = await audit(containers, load.accepted, shelf_before)
    assert books.balance, str(books)
