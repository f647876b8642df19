"""kill -9 of each container in turn, the stores included, while orders arrive at a steady rate."""

import asyncio

import pytest

from e2e.conftest import Shop, eventually, on_containers
from infra.bench.books import audit, shelf
from infra.bench.load import Load
from infra.containers.system import System as Containers

RATE_PER_SECOND = 10
ORDERS = 100
HEALED_SECONDS_MAX = 60
VICTIMS = ("order", "payment", "inventory", "gateway", "card-network", "postgres", "kafka", "jaeger")


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
    assert load.refusals == []
    assert len(load.accepted) == ORDERS
    assert [order for order in load.accepted if not order.ended_at] == []
    assert await shop.neither_dictated_nor_late(load) == []
    books = await audit(containers, load.accepted, shelf_before)
    assert books.balance, str(books)
    assert await containers.restarted() == [], "what was not killed has to live through it"
