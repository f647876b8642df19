"""What is not there, or not known, cannot be sold."""

import pytest

from e2e.conftest import Shop


@pytest.mark.parametrize(("sku", "reason"), [("sold-out", "OUT_OF_STOCK"), ("no-such-thing", "UNKNOWN_SKU")])
async def test_an_order_without_stock_is_rejected(shop: Shop, sku: str, reason: str) -> None:
    """Accepted at first, as placing asks no other service; then rejected by the saga with the reason."""
    placed = await shop.place(sku=sku)
    order = await shop.ended(placed["orderId"])
    assert (order["status"], order["reason"]) == ("REJECTED", reason)
    assert await shop.events(order["orderId"]) == ["OrderPlaced", "ReservationRefused", "OrderRejected"]
    assert (await shop.client.get(f"/v1/payments/{order['orderId']}")).status_code == 404
