"""The OpenAPI document: valid, complete, and true of real answers."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import jsonschema
import protovalidate
import pytest
from google.protobuf.message_factory import GetMessageClass
from openapi_spec_validator import OpenAPIV31SpecValidator
from shop.order.v1 import order_pb2

from gateway.rules import Rule, json_path, rules
from gateway.schemas import is_required
from gateway.tests.conftest import SERVICES
from gateway.tests.upstream import UNKNOWN_ORDER, Upstream

Document = dict[str, Any]
Body = Callable[..., dict[str, Any]]
RULES = rules(SERVICES.values())


def operation(document: Document, method: str, path: str) -> Document:
    return document["paths"][path][method.lower()]


def check(document: Document, answer: httpx.Response, path: str) -> None:
    """The answer is one that the operation of `path` declares: status, media type, headers and body."""
    declared = operation(document, answer.request.method, path)["responses"]
    response = declared.get(str(answer.status_code)) or declared["default"]
    response = _resolved(document, response)
    media_type = answer.headers["content-type"].split(";")[0]
    assert media_type in response["content"], f"{answer.status_code} {media_type} is not declared"
    schema = {**response["content"][media_type]["schema"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer.json())
    for name in response.get("headers", {}):
        assert name in answer.headers, f"{name} is declared, but not sent"


def _resolved(document: Document, value: Document) -> Document:
    while "$ref" in value:
        found: Any = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        value = found
    return value


def test_the_document_is_valid_openapi(document: Document) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_every_path_of_the_design_is_in_it(document: Document) -> None:
    assert {(method.upper(), path) for path, item in document["paths"].items() for method in item} == {
        ("POST", "/v1/orders"),
        ("GET", "/v1/orders"),
        ("GET", "/v1/orders/{order_id}"),
        ("POST", "/v1/orders/{order_id}:cancel"),
        ("GET", "/v1/orders/{order_id}/timeline"),
        ("GET", "/v1/orders/{order_id}:watch"),
        ("GET", "/v1/orders/{order_id}/saga"),
        ("GET", "/v1/saga"),
        ("GET", "/v1/stock"),
        ("GET", "/v1/stock/{sku}"),
        ("POST", "/v1/stock/{sku}:restock"),
        ("GET", "/v1/payments/{order_id}"),
        ("GET", "/v1/reservations/{order_id}"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
    }


def test_every_operation_has_a_name_of_its_own_and_a_description(document: Document) -> None:
    operations = [each for path, item in document["paths"].items() if path.startswith("/v1") for each in item.values()]

    assert len({each["operationId"] for each in operations}) == len(operations) == 13
    assert all(each["description"] for each in operations)


def test_the_bounds_of_the_protos_are_in_it(document: Document) -> None:
    body = operation(document, "POST", "/v1/orders")["requestBody"]["content"]["application/json"]["schema"]
    line = document["components"]["schemas"]["OrderLineInput"]["properties"]

    assert body["required"] == ["customerId", "cardToken", "lines"]
    assert body["additionalProperties"] is False
    assert (body["properties"]["lines"]["minItems"], body["properties"]["lines"]["maxItems"]) == (1, 100)
    assert "an article may stand in one line only" in body["properties"]["lines"]["description"]
    assert body["properties"]["customerId"]["maxLength"] == 64
    assert body["properties"]["cardToken"]["pattern"] == "^tok_[a-z0-9_]+$"
    assert (line["quantity"]["minimum"], line["quantity"]["maximum"]) == (1, 10_000)
    (order_id,) = operation(document, "GET", "/v1/orders/{order_id}")["parameters"]
    assert (order_id["in"], order_id["required"], order_id["schema"]["format"]) == ("path", True, "uuid")


def test_what_is_said_of_numbers_and_enums_is_what_is_sent(document: Document) -> None:
    schemas = document["components"]["schemas"]

    assert schemas["Money"]["properties"]["amountMinor"]["type"] == "string"
    assert schemas["Order.Status"]["enum"] == ["PENDING", "CONFIRMED", "REJECTED", "CANCELLED"]
    assert "REASON_UNSPECIFIED" not in schemas["Order.Reason"]["enum"]
    assert "reason" not in schemas["Order"]["required"]
    # What a call answers, another takes: a client generated from the document has one type for both.
    assert schemas["Order"]["properties"]["orderId"]["format"] == "uuid"
    # Rules bind who sends: a service may answer with an article of an older rule.
    assert schemas["OrderLine"]["properties"]["sku"].keys() == {"type", "description"}
    assert {"orderId", "status", "lines"} <= set(schemas["Order"]["required"])


def test_the_accepted_order_is_documented_with_its_headers(document: Document) -> None:
    responses = operation(document, "POST", "/v1/orders")["responses"]

    assert "200" not in responses
    assert responses["202"]["headers"].keys() == {"Location", "Link", "Idempotency-Key"}
    assert {"400", "409", "413", "415", "422", "429", "503", "504"} <= responses.keys()


def test_both_formats_of_a_stream_are_documented(document: Document) -> None:
    watch = operation(document, "GET", "/v1/orders/{order_id}:watch")

    assert watch["responses"]["200"]["content"].keys() == {"text/event-stream", "application/x-ndjson"}
    assert "406" in watch["responses"]
    assert "Last-Event-ID" in [parameter["name"] for parameter in watch["parameters"]]


def test_errors_apply_where_they_can_happen(document: Document) -> None:
    one = operation(document, "GET", "/v1/stock/{sku}")["responses"].keys()
    listed = operation(document, "GET", "/v1/stock")["responses"].keys()

    assert "404" in one
    assert not {"404"} & listed
    assert not {"409", "413", "415", "422"} & (one | listed)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.rpc.name)
def test_a_field_is_required_just_when_leaving_it_out_is_refused(rule: Rule) -> None:
    """What the services check with is asked; what the document says must agree."""
    empty = GetMessageClass(rule.rpc.input_type)()
    fields = [violation.proto.field for violation in protovalidate.collect_violations(empty)]
    refused = {field.elements[0].field_name for field in fields if field is not None}

    assert {field.name for field in rule.rpc.input_type.fields if is_required(field)} == refused


def _requests(upstream: Upstream, order: Any) -> Iterator[tuple[str, str, str, Any]]:
    known = upstream.place()
    rejected = upstream.place(order_pb2.Order.REJECTED)
    upstream.timelines[known] = [order_pb2.TimelineEntry(position=1, event="E", service="order", status="PENDING")]
    yield "POST", "/v1/orders", "/v1/orders", order()
    yield "POST", "/v1/orders", "/v1/orders", order(lines=[])
    yield "POST", "/v1/orders", "/v1/orders", order(colour="red")
    yield "GET", "/v1/orders", "/v1/orders?page_size=5", None
    yield "GET", "/v1/orders", "/v1/orders?page_token=nonsense%21", None
    for order_id in (known, UNKNOWN_ORDER, "7"):
        yield "GET", "/v1/orders/{order_id}", f"/v1/orders/{order_id}", None
        yield "GET", "/v1/orders/{order_id}/timeline", f"/v1/orders/{order_id}/timeline", None
        yield "GET", "/v1/orders/{order_id}/saga", f"/v1/orders/{order_id}/saga", None
        yield "GET", "/v1/payments/{order_id}", f"/v1/payments/{order_id}", None
    yield "POST", "/v1/orders/{order_id}:cancel", f"/v1/orders/{known}:cancel", {}
    yield "POST", "/v1/orders/{order_id}:cancel", f"/v1/orders/{rejected}:cancel", {}
    yield "GET", "/v1/saga", "/v1/saga", None
    yield "GET", "/v1/stock", "/v1/stock", None
    yield "GET", "/v1/stock/{sku}", "/v1/stock/sold-out", None
    yield "GET", "/v1/stock/{sku}", "/v1/stock/no-such", None
    yield "POST", "/v1/stock/{sku}:restock", "/v1/stock/espresso-beans:restock", {"quantity": 5}
    yield "POST", "/v1/stock/{sku}:restock", "/v1/stock/espresso-beans:restock", {"quantity": 0}
    yield "GET", "/healthz", "/healthz", None
    yield "GET", "/readyz", "/readyz", None


async def test_real_answers_are_as_documented(
    client: httpx.AsyncClient, upstream: Upstream, order: Body, document: Document
) -> None:
    statuses: set[int] = set()
    for method, path, url, body in _requests(upstream, order):
        answer = await client.request(method, url, json=body)
        statuses.add(answer.status_code)
        check(document, answer, path)

    assert statuses == {200, 202, 400, 404, 409}


async def test_a_stream_carries_what_is_documented(
    client: httpx.AsyncClient, upstream: Upstream, document: Document
) -> None:
    order_id = upstream.place()
    upstream.timelines[order_id] = [order_pb2.TimelineEntry(position=1, event="E", service="order", status="PENDING")]
    watch = operation(document, "GET", "/v1/orders/{order_id}:watch")
    schema = watch["responses"]["200"]["content"]["application/x-ndjson"]["schema"]["x-item-schema"]

    answer = await client.get(f"/v1/orders/{order_id}:watch")

    validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
    validator.validate(json.loads(answer.text.splitlines()[0]))


async def test_bodies_that_the_document_allows_are_accepted_and_others_are_not(
    client: httpx.AsyncClient, order: Body, document: Document
) -> None:
    schema = operation(document, "POST", "/v1/orders")["requestBody"]["content"]["application/json"]["schema"]
    validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
    line = {"sku": "espresso-beans", "quantity": 2}
    bodies = [
        order(),
        order(requestId="mine"),
        order(lines=[line] * 101),
        order(lines=[{**line, "quantity": 10_001}]),
        order(lines=[{**line, "quantity": 10_000}]),
        order(lines=[{**line, "sku": "No Such"}]),
        order(customerId="c" * 65),
        order(cardToken="4111"),
        order(colour="red"),
        {"customerId": "ada"},
    ]
    for body in bodies:
        allowed = validator.is_valid(body)
        assert ((await client.post("/v1/orders", json=body)).status_code == 202) is allowed, body


async def test_the_document_is_served_and_kept(client: httpx.AsyncClient, document: Document) -> None:
    first = await client.get("/openapi.json")
    again = await client.get("/openapi.json", headers={"if-none-match": first.headers["etag"]})

    assert first.json() == document
    assert (again.status_code, again.content) == (304, b"")


async def test_the_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 4
    for url in loaded:
        assert not urlsplit(url).netloc
        asset = await client.get(url)
        assert (asset.status_code, len(asset.content) > 50) == (200, True), url
    # An inline script would be blocked by the policy.
    assert "<script>" not in page.text


def test_names_of_fields_are_those_of_json() -> None:
    request = RULES[0].rpc.input_type

    assert json_path(request, "lines[0].quantity") == "lines[0].quantity"
    assert json_path(request, "customer_id") == "customerId"
    assert json_path(request, "no_such[3].field_name") == "no_such[3].field_name"
    assert json_path(request, "") == ""
