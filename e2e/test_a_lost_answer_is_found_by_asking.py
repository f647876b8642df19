"""The network charges, but its answer never arrives."""

from e2e.conftest import Shop


async def test_a_lost_answer_is_found_by_asking(shop: Shop) -> None:
    """The worker asks before it charges again: confirmed, and taken once."""
    placed = await shop.place("tok_lost_answer")
    order = await shop.ended(placed["orderId"])
    assert order["status"] == "CONFIRMED"
    payment = await shop.payment(order["orderId"])
    assert await shop.taken_at_the_network(payment["paymentId"]) == int(order["total"]["amountMinor"])
