"""Whatever /docs suggests is sent to a shop that nobody else uses, and answers and ends as it is said there."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import jsonschema
import pytest_asyncio

from e2e.conftest import OVERRIDES, Json, Shop
from infra.local.ports import Ports
from infra.local.system import System

LAST_ONE = "last-one"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_shop() -> AsyncIterator[Shop]:
    """A shop with full shelves, which other tests may not leave."""
    async with (
        System(ports=Ports.free(), environment=OVERRIDES) as system,
        httpx.AsyncClient(base_url=system.gateway_url, timeout=15) as client,
    ):
        yield Shop(system, client)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def document(own_shop: Shop) -> Json:
    return await own_shop.get("/openapi.json")


def validate(document: Json, schema: Json, value: Any) -> None:
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def orders_to_try(document: Json) -> dict[str, Json]:
    return {name: example["value"] for name, example in _order_examples(document).items()}


def promised(document: Json) -> dict[str, list[str]]:
    """What each order's summary says of its end: a status and, if there is one, the reason."""
    examples = _order_examples(document).items()
    ends = {name: example["summary"].partition("Ends ")[2].partition(";")[0] for name, example in examples}
    return {name: re.findall(r"[A-Z][A-Z_]+", end) for name, end in ends.items()}


def _order_examples(document: Json) -> Json:
    return document["paths"]["/v1/orders"]["post"]["requestBody"]["content"]["application/json"]["examples"]


async def end_of(shop: Shop, body: Json) -> list[str]:
    """The status and the reason with which an order of this body ends."""
    response = await shop.client.post("/v1/orders", json=body)
    assert response.status_code == 202, response.text
    order = await shop.ended(response.json()["orderId"], seconds=60)
    return [order["status"], *([order["reason"]] if "reason" in order else [])]


async def test_every_order_ends_as_its_summary_says(own_shop: Shop, document: Json) -> None:
    """All at once: they do not touch each other, but for the last one, which only one of them wants."""
    assert await own_shop.stock(LAST_ONE) == (1, 0)
    orders = orders_to_try(document)
    ends = await asyncio.gather(*(end_of(own_shop, body) for body in orders.values()))
    assert dict(zip(orders, ends, strict=True)) == promised(document)
    assert promised(document)["good-order"] == ["CONFIRMED"]
    assert await end_of(own_shop, orders[LAST_ONE]) == ["REJECTED", "OUT_OF_STOCK"]


async def test_the_articles_that_are_named_are_those_on_the_shelf(own_shop: Shop, document: Json) -> None:
    """None is missing, and none is made up."""
    (sku,) = document["paths"]["/v1/stock/{sku}"]["get"]["parameters"]
    shelf = await own_shop.get("/v1/stock")
    assert sorted(sku["examples"]) == sorted(item["sku"] for item in shelf["items"])


async def test_the_example_of_a_timeline_is_that_of_a_good_order(own_shop: Shop, document: Json) -> None:
    """Event for event, and status for status."""
    content = document["paths"]["/v1/orders/{order_id}/timeline"]["get"]["responses"]["200"]["content"]
    example = content["application/json"]["examples"]["confirmed"]["value"]
    order = (await own_shop.client.post("/v1/orders", json=orders_to_try(document)["good-order"])).json()
    await own_shop.ended(order["orderId"])
    timeline = await own_shop.get(f"/v1/orders/{order['orderId']}/timeline")
    shown, real = (
        [(entry["position"], entry["event"], entry["service"], entry["status"]) for entry in entries]
        for entries in (example["entries"], timeline["entries"])
    )
    assert shown == real


async def test_the_rows_that_are_shown_of_the_sagas_table_stand_in_it(own_shop: Shop, document: Json) -> None:
    """Word for word, and the first one first."""
    content = document["paths"]["/v1/saga"]["get"]["responses"]["200"]["content"]
    shown = content["application/json"]["examples"]["some-rows"]["value"]["transitions"]
    real = (await own_shop.get("/v1/saga"))["transitions"]
    assert [row for row in real if row in shown] == shown
    assert shown[0] == real[0]


async def test_the_saga_of_a_good_order_ends_as_its_example(own_shop: Shop, document: Json) -> None:
    """With the same fields: nothing is awaited any more, and nothing was turned back."""
    content = document["paths"]["/v1/orders/{order_id}/saga"]["get"]["responses"]["200"]["content"]
    example = content["application/json"]["examples"]["confirmed"]["value"]
    order = (await own_shop.client.post("/v1/orders", json=orders_to_try(document)["good-order"])).json()
    await own_shop.ended(order["orderId"])
    saga = await own_shop.get(f"/v1/orders/{order['orderId']}/saga")
    assert saga.keys() == example.keys()
    assert (saga["step"], saga["attempt"]) == (example["step"], example["attempt"])


@dataclass(frozen=True)
class Call:
    """One way to try an operation, made of its examples and of the links that lead to it."""

    operation_id: str
    method: str
    path: str
    query: dict[str, str]
    body: Json | None
    success: Json


def calls(document: Json, order: Json) -> Iterator[Call]:
    """Every operation but the placing of an order: once with each value that a parameter's examples name."""
    links = document["paths"]["/v1/orders"]["post"]["responses"]["202"]["links"]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            name = operation["operationId"]
            if name == "placeOrder":
                continue
            linked = {
                key: order[source.rpartition("/")[2]]
                for key, source in links.get(name, {"parameters": {}})["parameters"].items()
            }
            for values in _each_example(operation):
                place = {key: linked.get(key) or values.pop(key) for key in re.findall(r"\{(\w+)\}", path)}
                yield Call(name, method, path.format(**place), values, _body(operation), operation["responses"]["200"])


def _each_example(operation: Json) -> Iterator[dict[str, str]]:
    examples = {each["name"]: list(each.get("examples", ())) for each in operation.get("parameters", ())}
    longest = max(map(len, examples.values()), default=0)
    for number in range(max(longest, 1)):
        yield {name: values[number % len(values)] for name, values in examples.items() if values}


def _body(operation: Json) -> Json | None:
    if "requestBody" not in operation:
        return None
    (example,) = operation["requestBody"]["content"]["application/json"]["examples"].values()
    return example["value"]


async def test_every_other_call_answers_as_documented(own_shop: Shop, document: Json) -> None:
    """200, headers and body as the schema says; what needs an order gets the one that the links name."""
    order = (await own_shop.client.post("/v1/orders", json=orders_to_try(document)["good-order"])).json()
    await own_shop.heard(order["orderId"], "OrderConfirmed")
    tried: set[str] = set()
    for call in calls(document, order):
        async with own_shop.client.stream(call.method, call.path, params=call.query, json=call.body) as response:
            assert response.status_code == 200, f"{call}: {(await response.aread()).decode()}"
            content = call.success["content"][response.headers["content-type"]]
            # A stream stays open; its first line is an answer by itself.
            text = await anext(response.aiter_lines())
        validate(document, content["schema"].get("x-item-schema", content["schema"]), json.loads(text))
        for name in call.success.get("headers", {}):
            assert name in response.headers
        tried.add(call.operation_id)
    everything = {each["operationId"] for item in document["paths"].values() for each in item.values()}
    assert tried == everything - {"placeOrder"}
