"""Every public route, from HTTP to the RPC and back."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from shop.inventory.v1 import inventory_service_pb2
from shop.order.v1 import order_pb2, order_service_pb2

from gateway.tests.upstream import UNKNOWN_ORDER, Upstream

Body = Callable[..., dict[str, Any]]


async def test_a_placed_order_is_accepted_with_its_place_its_key_and_its_trace(
    client: httpx.AsyncClient, upstream: Upstream, order: Body
) -> None:
    answer = await client.post("/v1/orders", json=order())

    assert answer.status_code == 202
    placed = answer.json()
    assert placed["status"] == "PENDING"
    assert placed["lines"] == [{"sku": "espresso-beans", "quantity": 2}]
    assert answer.headers["location"] == f"/v1/orders/{placed['orderId']}"
    assert answer.headers["link"] == f'<http://traces.example/trace/{placed["traceId"]}>; rel="trace"'
    assert answer.headers["content-type"] == "application/json"
    assert UUID(answer.headers["idempotency-key"]).version == 7
    assert upstream.requests == [
        order_service_pb2.PlaceOrderRequest(
            customer_id="ada",
            card_token="tok_visa",
            lines=[order_pb2.OrderLine(sku="espresso-beans", quantity=2)],
            request_id=answer.headers["idempotency-key"],
        )
    ]


async def test_the_same_key_and_body_give_the_same_order(client: httpx.AsyncClient, order: Body) -> None:
    first, second = [await client.post("/v1/orders", json=order(), headers={"Idempotency-Key": "k1"}) for _ in range(2)]

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert second.headers["idempotency-key"] == "k1"


async def test_the_same_key_with_another_body_is_unprocessable(client: httpx.AsyncClient, order: Body) -> None:
    await client.post("/v1/orders", json=order(), headers={"Idempotency-Key": "k1"})

    answer = await client.post("/v1/orders", json=order(cardToken="tok_slow"), headers={"Idempotency-Key": "k1"})

    assert answer.status_code == 422
    assert answer.json()["reason"] == "IDEMPOTENCY_KEY_REUSED"
    assert answer.json()["type"] == "urn:shop:problem:idempotency-key-reused"
    assert [found["field"] for found in answer.json()["violations"]] == ["Idempotency-Key"]


async def test_a_key_in_the_body_stands_for_the_header(client: httpx.AsyncClient, order: Body) -> None:
    answer = await client.post("/v1/orders", json=order(requestId="k2"))

    assert answer.status_code == 202
    assert answer.headers["idempotency-key"] == "k2"


async def test_an_order_is_read(client: httpx.AsyncClient, upstream: Upstream) -> None:
    order_id = upstream.place()

    answer = await client.get(f"/v1/orders/{order_id}")

    assert answer.status_code == 200
    assert answer.json() == {
        "orderId": order_id,
        "customerId": "ada",
        "lines": [{"sku": "espresso-beans", "quantity": 2}],
        "status": "PENDING",
        "traceId": "a" * 32,
    }
    assert answer.headers["link"] == f'<http://traces.example/trace/{"a" * 32}>; rel="trace"'


async def test_an_unknown_order_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v1/orders/{UNKNOWN_ORDER}")

    assert answer.status_code == 404
    problem = answer.json()
    assert (problem["code"], problem["reason"], problem["status"]) == ("NOT_FOUND", "NOT_FOUND", 404)
    assert UNKNOWN_ORDER in problem["detail"]


@pytest.mark.parametrize("query", ["customer_id=ada&page_size=7", "customerId=ada&pageSize=7"])
async def test_a_list_is_filtered_in_either_spelling(client: httpx.AsyncClient, upstream: Upstream, query: str) -> None:
    order_id = upstream.place()

    answer = await client.get(f"/v1/orders?{query}&status=CONFIRMED&page_token=")

    assert answer.status_code == 200
    assert [found["orderId"] for found in answer.json()["orders"]] == [order_id]
    assert answer.json()["nextPageToken"] == ""
    assert upstream.requests == [
        order_service_pb2.ListOrdersRequest(customer_id="ada", page_size=7, status=order_pb2.Order.CONFIRMED)
    ]


@pytest.mark.parametrize("body", [b"", b"{}"])
async def test_an_order_is_cancelled_with_or_without_a_body(
    client: httpx.AsyncClient, upstream: Upstream, body: bytes
) -> None:
    order_id = upstream.place()
    headers = {"content-type": "application/json"} if body else {}

    answer = await client.post(f"/v1/orders/{order_id}:cancel", content=body, headers=headers)

    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["reason"]) == ("CANCELLED", "CANCELLED_BY_CUSTOMER")


async def test_a_rejected_order_cannot_be_cancelled(client: httpx.AsyncClient, upstream: Upstream) -> None:
    order_id = upstream.place(order_pb2.Order.REJECTED)

    answer = await client.post(f"/v1/orders/{order_id}:cancel")

    assert answer.status_code == 409
    assert (answer.json()["code"], answer.json()["reason"]) == ("FAILED_PRECONDITION", "WRONG_STATE")


async def test_a_timeline_is_read(client: httpx.AsyncClient, upstream: Upstream) -> None:
    order_id = upstream.place()
    entry = order_pb2.TimelineEntry(position=1, event="shop.order.v1.OrderPlaced", service="order", status="PENDING")
    upstream.timelines[order_id] = [entry]

    answer = await client.get(f"/v1/orders/{order_id}/timeline")

    assert answer.status_code == 200
    assert answer.json()["orderId"] == order_id
    # A number of 64 bits is a string in JSON.
    assert answer.json()["entries"][0]["position"] == "1"


async def test_stock_is_listed_with_its_zeros(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/stock")

    assert answer.status_code == 200
    sold_out = answer.json()["items"][1]
    price = {"amountMinor": "1250", "currencyCode": "EUR"}
    assert sold_out == {"sku": "sold-out", "available": "0", "held": "0", "unitPrice": price}
    assert answer.json()["nextPageToken"] == "more"


async def test_one_article_is_read(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/stock/espresso-beans")).json()["available"] == "100"
    assert (await client.get("/v1/stock/no-such")).status_code == 404


@pytest.mark.parametrize(
    ("path", "sku"),
    [
        ("a%2Fb", "a/b"),
        ("caf%C3%A9", "caf\u00e9"),
        ("a%3Arestock", "a:restock"),
        ("a%253Arestock", "a%3Arestock"),
        ("a:b", "a:b"),
    ],
)
async def test_a_path_is_unescaped_after_it_is_matched(
    client: httpx.AsyncClient, upstream: Upstream, path: str, sku: str
) -> None:
    """What is escaped belongs to the value: it divides no segments and is no verb."""
    await client.get(httpx.URL("http://gateway", raw_path=f"/v1/stock/{path}".encode()))

    assert upstream.requests == [inventory_service_pb2.GetStockRequest(sku=sku)]


async def test_a_verb_behind_an_escaped_name_is_a_verb(client: httpx.AsyncClient, upstream: Upstream) -> None:
    path = b"/v1/stock/a%2Fb%3Ac:restock"

    await client.post(httpx.URL("http://gateway", raw_path=path), json={"quantity": 5, "requestId": "r1"})

    request = inventory_service_pb2.RestockRequest(sku="a/b:c", quantity=5, request_id="r1")
    assert upstream.requests == [request]


async def test_an_article_is_restocked_once_for_each_key(client: httpx.AsyncClient, upstream: Upstream) -> None:
    answer = await client.post(
        "/v1/stock/espresso-beans:restock", json={"quantity": 5}, headers={"Idempotency-Key": "r1"}
    )

    assert answer.status_code == 200
    assert answer.json()["available"] == "105"
    assert answer.headers["idempotency-key"] == "r1"
    request = inventory_service_pb2.RestockRequest(sku="espresso-beans", quantity=5, request_id="r1")
    assert upstream.requests == [request]


async def test_a_payment_is_read_by_its_order(client: httpx.AsyncClient, upstream: Upstream) -> None:
    order_id = upstream.place()

    answer = await client.get(f"/v1/payments/{order_id}")

    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["refundPending"]) == ("CHARGED", False)


async def test_the_row_that_begins_a_saga_names_no_step_before_it(client: httpx.AsyncClient) -> None:
    """Absent, where the other rows have one."""
    answer = await client.get("/v1/saga")

    begins, refused = answer.json()["transitions"]
    assert begins == {
        "on": "OrderPlaced",
        "next": "RESERVING_STOCK",
        "command": "ReserveStock",
        "compensates": False,
        "parks": False,
    }
    assert (refused["step"], refused["command"]) == ("RESERVING_STOCK", "")


async def test_head_is_answered_where_get_is(client: httpx.AsyncClient, upstream: Upstream) -> None:
    answer = await client.head(f"/v1/orders/{upstream.place()}")

    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/v2", "/v1", "/v1/orders/", "/v1/sagas", "/v1/orders//timeline"])
async def test_an_unknown_path_is_a_problem(client: httpx.AsyncClient, path: str) -> None:
    """What has no annotation, such as ListSagas, has no path."""
    answer = await client.get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["reason"] == "NO_SUCH_PATH"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/orders", "GET, HEAD, POST"),
        ("POST", "/v1/orders/x", "GET, HEAD"),
        ("GET", "/v1/orders/x:cancel", "POST"),
        ("DELETE", "/v1/orders/x:watch", "GET"),
        ("POST", "/v1/stock/espresso-beans%3Arestock", "GET, HEAD"),
        ("OPTIONS", "/v1/stock", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ],
)
async def test_a_wrong_verb_is_a_problem_that_names_the_right_ones(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == 405
    assert sorted(answer.headers["allow"].split(", ")) == allow.split(", ")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["reason"] == "METHOD_NOT_ALLOWED"


async def test_a_stream_has_no_head(client: httpx.AsyncClient) -> None:
    assert (await client.head("/v1/orders/x:watch")).status_code == 405


async def test_every_answer_says_that_its_type_is_meant(client: httpx.AsyncClient) -> None:
    for path in ("/v1/stock", "/nowhere", "/docs", "/docs/assets/swagger-ui.css", "/openapi.json", "/healthz"):
        assert (await client.get(path)).headers["x-content-type-options"] == "nosniff", path


async def test_no_answer_invites_other_origins(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/stock", headers={"origin": "https://elsewhere.example"})

    assert not [name for name in answer.headers if name.startswith("access-control")]
