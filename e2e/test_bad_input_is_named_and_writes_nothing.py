"""Whatever a caller sends, the answer is a problem document that names the field, and nothing is written."""

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from e2e.conftest import Shop

GOOD: dict[str, Any] = {
    "customerId": "mallory",
    "cardToken": "tok_visa",
    "lines": [{"sku": "espresso-beans", "quantity": 1}],
}


def line(**changes: object) -> dict[str, Any]:
    return {"lines": [{"sku": "espresso-beans", "quantity": 1, **changes}]}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"colour": "red"}, "colour"),
    ({"customerId": 5}, "customerId"),
    ({"customerId": ""}, "customerId"),
    ({"customerId": "m" * 300}, "customerId"),
    (line(quantity=0), "lines[0].quantity"),
    (line(quantity=10_001), "lines[0].quantity"),
    (line(quantity="many"), "lines[0].quantity"),
    ({"lines": [{"sku": f"s{number}", "quantity": 1} for number in range(101)]}, "lines"),
    ({"lines": GOOD["lines"] * 2}, "lines"),
    ({"lines": [{"sku": f"NOT A SKU {number}", "quantity": 0} for number in range(100)]}, "lines[0].sku"),
]


@pytest.mark.parametrize(("changes", "field"), BAD)
async def test_a_bad_field_is_named(shop: Shop, changes: dict[str, Any], field: str) -> None:
    """400, the field by its JSON path, the code, and a trace to look into."""
    await shop.at_rest()
    before = await shop.get("/v1/orders?page_size=1")
    response = await shop.client.post("/v1/orders", json={**GOOD, **changes})
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == "INVALID_ARGUMENT"
    assert field in [violation["field"] for violation in problem["violations"]]
    assert "Traceback" not in response.text
    assert await shop.get("/v1/orders?page_size=1") == before


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status"),
    [
        ("POST", "/v1/orders", b"{", {}, 400),
        ("POST", "/v1/orders", b"x" * 2_000_000, {}, 413),
        ("POST", "/v1/orders", b"{}", {"Content-Type": "text/plain"}, 415),
        ("POST", "/v1/orders", b"{}", {"Idempotency-Key": "k" * 300}, 400),
        ("DELETE", "/v1/orders", b"", {}, 405),
        ("GET", "/v1/nothing", b"", {}, 404),
        ("GET", f"/v1/orders/{uuid4()}", b"", {}, 404),
        ("GET", "/v1/orders?page_token=nonsense", b"", {}, 400),
        ("GET", "/v1/orders?colour=red", b"", {}, 400),
        ("GET", "/v1/orders?customer_id=%00", b"", {}, 400),
        ("GET", f"/v1/orders/{uuid4()}:watch?after_position=5", b"", {}, 404),
    ],
)
async def test_a_bad_request_gets_a_problem_document(
    shop: Shop, method: str, path: str, content: bytes, headers: dict[str, str], status: int
) -> None:
    """The right status, in the one error format there is."""
    response = await shop.client.request(
        method, path, content=content, headers={"Content-Type": "application/json", **headers}
    )
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status


async def test_a_rejected_order_cannot_be_cancelled(shop: Shop) -> None:
    """409: the request is well-formed, the resource does not allow it."""
    placed = await shop.place(sku="sold-out")
    await shop.ended(placed["orderId"])
    response = await shop.client.post(f"/v1/orders/{placed['orderId']}:cancel", json={})
    assert response.status_code == 409
    assert response.json()["reason"] == "WRONG_STATE"


def spellings(order_id: str) -> list[str]:
    """The same UUID as others write it."""
    return [order_id.upper(), f"urn:uuid:{order_id}", f"{{{order_id}}}", order_id.replace("-", ""), f" {order_id}"]


async def test_an_order_s_id_has_one_spelling(shop: Shop) -> None:
    """Another one is refused by the field's name, and neither finds the order nor makes something of its own."""
    placed = await shop.place(sku="sold-out")
    await shop.ended(placed["orderId"])
    for other in spellings(placed["orderId"]):
        quoted = quote(other, safe="")
        for verb, path in (
            ("GET", f"/v1/orders/{quoted}"),
            ("GET", f"/v1/orders/{quoted}/timeline"),
            ("GET", f"/v1/orders/{quoted}:watch"),
            ("POST", f"/v1/orders/{quoted}:cancel"),
            ("GET", f"/v1/payments/{quoted}"),
            ("GET", f"/v1/reservations/{quoted}"),
        ):
            response = await shop.client.request(verb, path, json={} if verb == "POST" else None)
            assert response.status_code == 400, f"{verb} {path}: {response.text}"
            assert [violation["field"] for violation in response.json()["violations"]] == ["orderId"]
