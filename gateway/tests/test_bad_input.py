"""What bad input gets: a problem document with the right status that names the field, and nothing asked of a service
that the gateway can refuse by itself.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from gateway.tests.upstream import UNKNOWN_ORDER, Upstream

Body = Callable[..., dict[str, Any]]
LINE = {"sku": "espresso-beans", "quantity": 2}


def fields(answer: httpx.Response) -> list[str]:
    """The fields a problem names; checks what every problem has."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert {"type", "title", "detail", "code"} <= problem.keys()
    assert len(problem["traceId"]) == 32
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text
    for violation in problem.get("violations", []):
        assert violation.keys() == {"field", "description", "rule"}
        assert violation["field"] in problem["detail"]
    return [violation["field"] for violation in problem.get("violations", [])]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"colour": "red"}, ["colour"]),
        ({"lines": [{**LINE, "colour": "red"}]}, ["lines[0].colour"]),
        ({"customerId": 7}, ["customerId"]),
        ({"customerId": "\ud800"}, ["customerId"]),
        ({"lines": "espresso"}, ["lines"]),
        ({"lines": [LINE, None]}, ["lines[1]"]),
        ({"lines": [{**LINE, "quantity": "many"}]}, ["lines[0].quantity"]),
        ({"lines": [LINE, {**LINE, "quantity": 1.5}]}, ["lines[1].quantity"]),
        ({"lines": [{**LINE, "quantity": True}]}, ["lines[0].quantity"]),
        ({"lines": [{**LINE, "quantity": 2**31}]}, ["lines[0].quantity"]),
        ({"lines": [{**LINE, "quantity": 10**400}]}, ["lines[0].quantity"]),
        ({"customer_id": "ada"}, ["customer_id"]),
        ({"cardToken": [], "colour": 1, "lines": [{"sku": 1}]}, ["cardToken", "lines[0].sku", "colour"]),
    ],
)
async def test_what_is_no_place_order_request_is_refused_here_by_name(
    client: httpx.AsyncClient, upstream: Upstream, order: Body, changes: dict[str, Any], named: list[str]
) -> None:
    answer = await client.post("/v1/orders", content=json.dumps(order(**changes)), headers=JSON)

    assert answer.status_code == 400
    assert fields(answer) == named
    assert answer.json()["code"] == "INVALID_ARGUMENT"
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lines": [{**LINE, "quantity": 0}]}, ["lines[0].quantity"]),
        ({"lines": [LINE, {"sku": "filter-paper", "quantity": 10_001}]}, ["lines[1].quantity"]),
        ({"lines": [{"sku": f"article-{number}", "quantity": 1} for number in range(101)]}, ["lines"]),
        ({"lines": []}, ["lines"]),
        ({"lines": [LINE, LINE]}, ["lines"]),
        ({"customerId": ""}, ["customerId"]),
        ({"customerId": "c" * 300}, ["customerId"]),
        ({"cardToken": "4111111111111111"}, ["cardToken"]),
    ],
)
async def test_what_breaks_a_rule_of_the_protos_is_refused_by_the_service_in_the_callers_words(
    client: httpx.AsyncClient, upstream: Upstream, order: Body, changes: dict[str, Any], named: list[str]
) -> None:
    answer = await client.post("/v1/orders", json=order(**changes))

    assert answer.status_code == 400
    assert fields(answer) == named
    assert upstream.orders == {}


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'customerId': 'ada'}",
        b'{"customerId": NaN}',
        b'{"customerId": "ad\xff"}',
        b"\xef\xbb\xbf{}",
        b"[" * 30_000,
        b'{"lines": ' + b"9" * 5_000 + b"}",
        b"{} {}",
    ],
)
async def test_malformed_json_is_refused(client: httpx.AsyncClient, upstream: Upstream, body: bytes) -> None:
    answer = await client.post("/v1/orders", content=body, headers=JSON)

    assert answer.status_code == 400
    fields(answer)
    assert answer.json()["reason"] == "MALFORMED_JSON"
    assert upstream.requests == []


async def test_malformed_json_is_told_where(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/orders", content=b'{\n "customerId" "ada"}', headers=JSON)

    assert "line 2, column 15" in answer.json()["detail"]


@pytest.mark.parametrize("body", [rb'{"\ud800": 1}', rb'{"\ud800": 1, "\ud800": 2}'])
async def test_a_name_that_is_no_text_is_shown_by_its_escape(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/orders", content=body, headers=JSON)

    assert answer.status_code == 400
    assert fields(answer) == [r"\ud800"]


@pytest.mark.parametrize(("body", "named"), [(b"[]", ""), (b"null", ""), (b'{"lines":[],"lines":[]}', "lines")])
async def test_a_body_that_is_no_object_or_ambiguous_is_refused(
    client: httpx.AsyncClient, body: bytes, named: str
) -> None:
    answer = await client.post("/v1/orders", content=body, headers=JSON)

    assert answer.status_code == 400
    assert fields(answer) == [named]


@pytest.mark.parametrize("key", ["k" * 300, "", "two words", "caf\u00e9", "tab\there"])
async def test_a_bad_idempotency_key_is_refused(
    client: httpx.AsyncClient, upstream: Upstream, order: Body, key: str
) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}

    answer = await client.post("/v1/orders", json=order(), headers=headers)

    assert answer.status_code == 400
    assert fields(answer) == ["Idempotency-Key"]
    assert upstream.requests == []


async def test_a_bad_key_in_the_body_is_named_as_it_was_written(client: httpx.AsyncClient, order: Body) -> None:
    """It must not reach the response header either."""
    answer = await client.post("/v1/orders", json=order(requestId="a\r\nset-cookie: b"))

    assert answer.status_code == 400
    assert fields(answer) == ["requestId"]
    assert "idempotency-key" not in answer.headers


async def test_two_keys_are_refused(client: httpx.AsyncClient, order: Body) -> None:
    differing = await client.post("/v1/orders", json=order(requestId="a"), headers={"Idempotency-Key": "b"})
    twice = await client.post("/v1/orders", json=order(), headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])

    assert (differing.status_code, twice.status_code) == (400, 400)
    assert fields(differing) == fields(twice) == ["Idempotency-Key"]


async def test_a_refused_order_still_gets_its_key_back(client: httpx.AsyncClient, order: Body) -> None:
    """Whoever let the gateway make the key needs it to repeat the request, whatever became of it."""
    answer = await client.post("/v1/orders", json=order(customerId=""))

    assert answer.status_code == 400
    assert len(answer.headers["idempotency-key"]) == 36


async def test_a_large_body_is_refused(client: httpx.AsyncClient, upstream: Upstream) -> None:
    answer = await client.post("/v1/orders", content=b" " * 2_000_000, headers=JSON)

    assert answer.status_code == 413
    fields(answer)
    assert "65536" in answer.json()["detail"]
    assert upstream.requests == []


async def test_a_large_body_without_a_length_is_refused_as_soon_as_it_is_too_large(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 2_000_000:
            sent += 1_000
            yield b" " * 1_000

    answer = await client.post("/v1/orders", content=endless(), headers=JSON)

    assert answer.status_code == 413
    assert sent < 70_000


async def test_a_body_of_exactly_the_bound_is_read(client: httpx.AsyncClient, order: Body) -> None:
    body = json.dumps(order()).encode().ljust(64 * 1024)

    assert (await client.post("/v1/orders", content=body, headers=JSON)).status_code == 202
    assert (await client.post("/v1/orders", content=body + b" ", headers=JSON)).status_code == 413


async def test_a_body_that_does_not_come_is_not_waited_for(client: httpx.AsyncClient) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    answer = await client.post("/v1/orders", content=stuck(), headers=JSON)

    assert answer.status_code == 408
    fields(answer)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "text/plain"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_what_is_not_declared_as_json_is_refused(
    client: httpx.AsyncClient, order: Body, headers: dict[str, str]
) -> None:
    answer = await client.post("/v1/orders", content=json.dumps(order()), headers=headers)

    assert answer.status_code == 415
    fields(answer)


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=UTF-8", "application/foo+json"])
async def test_json_is_taken_under_its_names(client: httpx.AsyncClient, order: Body, media_type: str) -> None:
    answer = await client.post("/v1/orders", content=json.dumps(order()), headers={"content-type": media_type})

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("colour=red", ["colour"]),
        ("status=LOST", ["status"]),
        ("status=1", ["status"]),
        ("status=PENDING&status=CONFIRMED", ["status"]),
        ("page_size=1&pageSize=1", ["pageSize"]),
        ("page_size=ten", ["pageSize"]),
        ("page_size=", ["pageSize"]),
        ("page_size=99999999999", ["pageSize"]),
        ("page_size=101", ["pageSize"]),
        ("page_size=-1", ["pageSize"]),
        ("page_token=nonsense%21", ["pageToken"]),
        ("customer_id=" + "c" * 300, ["customerId"]),
        ("customer_id=%ff", [""]),
        ("&".join(f"q{number}=" for number in range(101)), [""]),
    ],
)
async def test_a_bad_query_is_refused_by_name(client: httpx.AsyncClient, query: str, named: list[str]) -> None:
    answer = await client.get(f"/v1/orders?{query}")

    assert answer.status_code == 400
    assert fields(answer) == named


async def test_a_query_where_none_is_taken_is_refused(client: httpx.AsyncClient, order: Body) -> None:
    answer = await client.post("/v1/orders?customerId=eve", json=order())

    assert answer.status_code == 400
    assert fields(answer) == ["customerId"]


@pytest.mark.parametrize("path", ["/v1/orders/7", "/v1/orders/7/timeline", "/v1/orders/7/saga", "/v1/payments/7"])
async def test_a_path_that_holds_no_id_is_refused_by_name(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)

    assert answer.status_code == 400
    assert fields(answer) == ["orderId"]


@pytest.mark.parametrize("sku", ["%FF", "caf%C3", "%", "%2", "a%zzb"])
async def test_a_path_that_is_not_percent_encoded_utf_8_is_refused_by_name(
    client: httpx.AsyncClient, upstream: Upstream, sku: str
) -> None:
    """Nothing is asked for under a name that the caller did not mean."""
    answer = await client.get(httpx.URL("http://gateway", raw_path=f"/v1/stock/{sku}".encode()))

    assert answer.status_code == 400
    assert fields(answer) == ["sku"]
    assert upstream.requests == []


async def test_a_body_that_contradicts_the_path_is_refused(client: httpx.AsyncClient, upstream: Upstream) -> None:
    answer = await client.post("/v1/stock/espresso-beans:restock", json={"sku": "last-one", "quantity": 1})

    assert answer.status_code == 400
    assert fields(answer) == ["sku"]
    assert upstream.requests == []


@pytest.mark.parametrize("path", ["", "/timeline", "/saga", ":watch"])
async def test_an_unknown_order_has_nothing_to_show(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/v1/orders/{UNKNOWN_ORDER}{path}")

    assert answer.status_code == 404
    fields(answer)


async def test_a_request_that_is_wrong_everywhere_is_told_a_bounded_part(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/orders", json={"lines": [{"sku": 1}] * 3_000})

    assert answer.status_code == 400
    assert len(fields(answer)) == 50
