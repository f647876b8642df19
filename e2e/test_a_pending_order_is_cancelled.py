"""The customer changes their mind before the saga has ended."""

from e2e.conftest import Shop


async def test_a_pending_order_is_cancelled(shop: Shop) -> None:
    """The saga undoes what it began, then says CANCELLED; cancelling again changes nothing."""
    before = await shop.stock("grinder")
    placed = await shop.place("tok_slow", sku="grinder")
    await shop.heard(placed["orderId"], "StockReserved")
    assert (await shop.cancel(placed["orderId"]))["status"] == "PENDING"
    assert (await shop.cancel(placed["orderId"]))["status"] in ("PENDING", "CANCELLED")
    order = await shop.ended(placed["orderId"])
    assert (order["status"], order["reason"]) == ("CANCELLED", "CANCELLED_BY_CUSTOMER")
    payment = await shop.payment(order["orderId"])
    assert payment["state"] in ("VOIDED", "REFUNDED")
    assert await shop.taken_at_the_network(payment["paymentId"]) == 0
    assert await shop.stock("grinder") == before
