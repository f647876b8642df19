"""The order is cancelled while payment hangs: the refund is wished for before the charge can be made."""

from e2e.conftest import Shop


async def test_a_refund_overtakes_its_charge(shop: Shop) -> None:
    """Whichever command arrives first, nothing stays taken and nothing stays held."""
    before = await shop.stock("filter-papers")
    await shop.system.pause("payment")
    try:
        placed = await shop.place(sku="filter-papers")
        await shop.heard(placed["orderId"], "StockReserved")
        order = await shop.cancel(placed["orderId"])
        assert order["status"] == "PENDING"
    finally:
        await shop.system.resume("payment")
    order = await shop.ended(placed["orderId"])
    assert (order["status"], order["reason"]) == ("CANCELLED", "CANCELLED_BY_CUSTOMER")
    payment = await shop.payment(order["orderId"])
    assert payment["state"] in ("VOIDED", "REFUNDED")
    assert await shop.taken_at_the_network(payment["paymentId"]) == 0
    assert await shop.stock("filter-papers") == before
