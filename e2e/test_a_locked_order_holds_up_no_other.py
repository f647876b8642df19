"""Somebody keeps rows of some orders locked; every other order goes its way, and these do when they are free again.

For a few seconds here; `make pace` does it for a minute.
"""

import os

import asyncpg

from e2e.conftest import Shop, shop_with
from infra.bench.load import Load
from infra.local.system import System as Embedded

RATE_PER_SECOND = 20
SECONDS = float(os.environ.get("PACE_SECONDS", "4"))
PACE_MIN = 0.9
# From the last order on, what is placed then has time to end on a busy machine; a lock would cost it longer.
DRAIN_SECONDS_MAX = 3.0
PATIENT = str(int(SECONDS) + 60)


async def test_a_locked_order_holds_up_no_other() -> None:
    """At twenty orders a second the others keep nine tenths of the pace that they have while nothing is locked."""
    async with shop_with(order={"CHARGE_DEADLINE_SECONDS": PATIENT}) as shop:
        free = await pace(shop)
        victims = [(await shop.place("tok_slow"))["orderId"] for _ in range(5)]
        for order_id in victims:
            await shop.heard(order_id, "StockReserved")
        assert isinstance(shop.system, Embedded)
        somebody = await asyncpg.connect(shop.system.database_url("order").replace("+asyncpg", ""))
        async with somebody.transaction():
            await somebody.execute("SELECT FROM sagas WHERE order_id = ANY($1) FOR UPDATE", victims)
            found = await pace(shop)
            assert found >= PACE_MIN * free, f"{found:.2f} of the orders ended, {free:.2f} while nothing was locked"
            assert {(await shop.order(order_id))["status"] for order_id in victims} == {"PENDING"}
        await somebody.close()
        for order_id in victims:
            assert (await shop.ended(order_id))["status"] == "CONFIRMED"


async def pace(shop: Shop) -> float:
    """Which share of a load's orders has ended shortly after the last was placed."""
    load = Load(shop.system, RATE_PER_SECOND, int(SECONDS * RATE_PER_SECOND))
    async with load.listening():
        await load.place()
        await load.drain(DRAIN_SECONDS_MAX)
    return len(load.ended) / len(load.accepted)
