"""A client that heard no answer may ask again."""

import asyncio
from uuid import uuid4

from e2e.conftest import Shop


async def test_a_repeated_post_places_one_order(shop: Shop) -> None:
    """The same key and body get the same answer, also at the same moment; the same key with another body gets a 422."""
    key, customer = str(uuid4()), f"customer-{uuid4()}"
    answers = await asyncio.gather(*(shop.place(customer_id=customer, key=key) for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)
    await shop.ended(answers[0]["orderId"])
    assert await shop.place(customer_id=customer, key=key) == answers[0]
    listed = await shop.get(f"/v1/orders?customer_id={customer}")
    assert [order["orderId"] for order in listed["orders"]] == [answers[0]["orderId"]]
    other = {"customerId": customer, "cardToken": "tok_visa", "lines": [{"sku": "grinder", "quantity": 1}]}
    response = await shop.client.post("/v1/orders", json=other, headers={"Idempotency-Key": key})
    assert response.status_code == 422
    assert response.json()["reason"] == "IDEMPOTENCY_KEY_REUSED"
