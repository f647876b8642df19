"""The network charges and then says nothing about that key for longer than the saga waits."""

from e2e.conftest import Shop


async def test_a_silent_network_rejects_and_refunds(shop: Shop) -> None:
    """The deadline turns the saga back; once the network speaks again the refund succeeds and the order is rejected."""
    before = await shop.stock("grinder")
    placed = await shop.place("tok_silent", sku="grinder")
    order = await shop.ended(placed["orderId"], seconds=60)
    assert (order["status"], order["reason"]) == ("REJECTED", "PAYMENT_TIMED_OUT")
    payment = await shop.payment(order["orderId"])
    assert payment["state"] == "REFUNDED"
    assert await shop.taken_at_the_network(payment["paymentId"]) == 0
    assert await shop.stock("grinder") == before
