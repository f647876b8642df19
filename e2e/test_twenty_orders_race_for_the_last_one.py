"""There is exactly one, and twenty want it at the same moment."""

import asyncio

from e2e.conftest import Shop


async def test_twenty_orders_race_for_the_last_one(shop: Shop) -> None:
    """One is confirmed, nineteen are out of stock, and the shelf is empty."""
    # The scenario of this race may have sold it before.
    if await shop.stock("last-one") == (0, 0):
        restocked = await shop.client.post("/v1/stock/last-one:restock", json={"quantity": 1})
        assert restocked.status_code == 200, restocked.text
    assert await shop.stock("last-one") == (1, 0)
    placed = await asyncio.gather(*(shop.place(sku="last-one", customer_id=f"racer-{n}") for n in range(20)))
    orders = await asyncio.gather(*(shop.ended(order["orderId"]) for order in placed))
    assert sorted(order["status"] for order in orders) == ["CONFIRMED"] + ["REJECTED"] * 19
    assert {order["reason"] for order in orders if order["status"] == "REJECTED"} == {"OUT_OF_STOCK"}
    assert await shop.stock("last-one") == (0, 0)
