"""The network breaks twice before it charges; or takes its time."""

import pytest

from e2e.conftest import Shop


@pytest.mark.parametrize("card_token", ["tok_flaky", "tok_slow"])
async def test_a_flaky_network_is_tried_again(shop: Shop, card_token: str) -> None:
    """Confirmed in the end, and taken once."""
    placed = await shop.place(card_token)
    order = await shop.ended(placed["orderId"])
    assert order["status"] == "CONFIRMED"
    payment = await shop.payment(order["orderId"])
    assert await shop.taken_at_the_network(payment["paymentId"]) == int(order["total"]["amountMinor"])
