"""An order with stock and a good card is confirmed, and its goods leave."""

from e2e.conftest import BEANS, Shop


async def test_an_order_is_confirmed(shop: Shop) -> None:
    """202 and PENDING at once; CONFIRMED, priced and charged a moment later; nothing stays held."""
    available, held = await shop.stock()
    placed = await shop.place(quantity=2)
    assert placed["status"] == "PENDING"
    order = await shop.ended(placed["orderId"])
    assert order["status"] == "CONFIRMED"
    price = (await shop.get(f"/v1/stock/{BEANS}"))["unitPrice"]
    total = 2 * int(price["amountMinor"])
    assert order["total"] == {"amountMinor": str(total), "currencyCode": price["currencyCode"]}
    assert await shop.events(order["orderId"]) == ["OrderPlaced", "StockReserved", "PaymentCharged", "OrderConfirmed"]
    payment = await shop.payment(order["orderId"])
    assert payment["state"] == "CHARGED"
    assert await shop.taken_at_the_network(payment["paymentId"]) == total
    assert await shop.stock() == (available - 2, held)
