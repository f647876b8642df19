"""A declined card rejects the order and gives the goods back."""

from e2e.conftest import Shop


async def test_a_declined_payment_releases_the_stock(shop: Shop) -> None:
    """Rejected with the reason, after the stock is free again, and nothing was taken."""
    before = await shop.stock("moka-pot")
    placed = await shop.place("tok_declined", sku="moka-pot")
    order = await shop.ended(placed["orderId"])
    assert (order["status"], order["reason"]) == ("REJECTED", "PAYMENT_DECLINED")
    assert await shop.events(order["orderId"]) == [
        "OrderPlaced", "StockReserved", "PaymentDeclined", "TurnedBack", "StockReleased", "OrderRejected",
    ]  # fmt: skip
    assert await shop.stock("moka-pot") == before
    payment = await shop.payment(order["orderId"])
    assert payment["state"] == "DECLINED"
    assert await shop.taken_at_the_network(payment["paymentId"]) == 0
