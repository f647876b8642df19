"""kill -9 of each service in turn, with fifty orders in flight; test_a_killed_container_loses_no_order has the rest."""

import asyncio

import httpx
import pytest

from e2e.conftest import Shop, embedded, eventually

ORDERS = 50
TIMED_OUT = (("REJECTED", "RESERVATION_TIMED_OUT"), ("REJECTED", "PAYMENT_TIMED_OUT"))


@embedded
@pytest.mark.parametrize("victim", ["order", "inventory", "payment", "card-network", "gateway"])
async def test_a_killed_service_loses_no_order(shop: Shop, victim: str) -> None:
    """Every accepted order ends as its card dictates, and money and stock balance to the last unit."""
    available, held = await shop.stock()

    async def place(number: int) -> dict[str, str]:
        card = "tok_declined" if number % 10 == 0 else "tok_visa"
        key = f"kill-{victim}-{number}"

        async def try_again() -> dict[str, str] | None:
            # The same key makes it safe to repeat what got no answer.
            try:
                return await shop.place(card, customer_id=f"{victim}-{number}", key=key)
            except (httpx.TransportError, AssertionError):
                return None

        order = await eventually(try_again, f"order {number} is accepted")
        return {"orderId": order["orderId"], "card": card}

    placing = [asyncio.create_task(place(number)) for number in range(ORDERS)]
    await asyncio.wait(placing[: ORDERS // 2])
    await shop.system.kill(victim)
    placed = await asyncio.gather(*placing)
    await shop.system.ready(victim)

    async def ended(order_id: str) -> dict[str, str] | None:
        try:
            return await shop.ended(order_id, 1)
        except (httpx.TransportError, AssertionError):
            return None

    async def payment(order_id: str) -> httpx.Response | None:
        # The gateway finds a service again a moment after it is back, and says 503 until then.
        response = await shop.client.get(f"/v1/payments/{order_id}")
        return None if response.status_code == 503 else response

    confirmed_total = 0
    for order in placed:
        found = await eventually(lambda order=order: ended(order["orderId"]), f"{order} ends", 60)
        dictated = ("REJECTED", "PAYMENT_DECLINED") if order["card"] == "tok_declined" else ("CONFIRMED", None)
        # A service that is away for longer than a saga waits costs the order, never money or goods.
        assert (found["status"], found.get("reason")) in (dictated, *TIMED_OUT), found
        confirmed = found["status"] == "CONFIRMED"
        confirmed_total += confirmed
        response = await eventually(lambda order=order: payment(order["orderId"]), f"the payment of {order}")
        if response.status_code == 404:
            assert not confirmed
            continue
        found = response.json()
        taken = await shop.taken_at_the_network(found["paymentId"])
        assert taken == (int(found["amount"]["amountMinor"]) if confirmed else 0)
    assert await shop.stock() == (available - confirmed_total, held), "sold goods have left, the others are back"
