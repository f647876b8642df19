"""The customer changes their mind after the goods have left."""

from e2e.conftest import Shop


async def test_a_confirmed_order_is_cancelled(shop: Shop) -> None:
    """CANCELLED at once; payment and inventory hear it and give money and goods back, each with its own event."""
    before = await shop.stock("moka-pot")
    placed = await shop.place(sku="moka-pot")
    order = await shop.ended(placed["orderId"])
    assert order["status"] == "CONFIRMED"
    await shop.at_rest()
    assert (await shop.cancel(placed["orderId"]))["status"] == "CANCELLED"
    await shop.heard(order["orderId"], "PaymentRefunded")
    await shop.heard(order["orderId"], "StockReturned")
    payment = await shop.payment(order["orderId"])
    assert payment["state"] == "REFUNDED"
    assert await shop.taken_at_the_network(payment["paymentId"]) == 0
    assert await shop.stock("moka-pot") == before
