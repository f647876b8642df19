"""The examples of the OpenAPI document: there, as their schemas say, and, where they are errors, as really answered."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from shop.rest.v1 import rest_pb2

from gateway import openapi
from gateway.app import PROTO_IMAGE
from gateway.examples import examples, illustrate
from gateway.paths import AnnotationError
from gateway.rules import Rule, rules
from gateway.tests.conftest import SERVICES
from gateway.tests.test_problems import Code, aborting
from gateway.tests.upstream import UNKNOWN_ORDER, Upstream

Document = dict[str, Any]
Body = Callable[..., dict[str, Any]]
RULES = rules(SERVICES.values())


def validate(document: Document, schema: Document, value: Any) -> None:
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def _operations(document: Document) -> Iterator[Document]:
    for path, item in document["paths"].items():
        if path.startswith("/v1/"):
            yield from item.values()


def _answers(operation: Document) -> Iterator[tuple[str, Document]]:
    (success,) = (answer for status, answer in operation["responses"].items() if status in ("200", "202"))
    yield from success["content"].items()


def test_every_request_with_a_body_and_every_answer_has_an_example_with_a_summary(document: Document) -> None:
    for operation in _operations(document):
        shown = [content for _, content in _answers(operation)]
        if "requestBody" in operation:
            shown.append(operation["requestBody"]["content"]["application/json"])
        for content in shown:
            assert content["examples"], operation["operationId"]
            assert all(example["summary"] for example in content["examples"].values())


def test_every_example_is_for_an_rpc_that_the_gateway_offers() -> None:
    assert examples(PROTO_IMAGE).keys() == {rule.rpc.full_name for rule in RULES}


def test_every_request_is_one_that_its_schema_allows(document: Document) -> None:
    for operation in _operations(document):
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            for example in content["examples"].values():
                validate(document, content["schema"], example["value"])
        for parameter in operation["parameters"]:
            for example in parameter.get("examples", {}).values():
                validate(document, parameter["schema"], example["value"])


def test_every_answer_is_one_that_its_schema_describes(document: Document) -> None:
    for operation in _operations(document):
        for media_type, content in _answers(operation):
            for example in content["examples"].values():
                validate(document, content["schema"], example["value"])
                if media_type != "application/json":
                    (line,) = (line for line in example["value"].splitlines() if "{" in line)
                    validate(document, content["schema"]["x-item-schema"], json.loads(line.removeprefix("data: ")))


def test_the_good_order_stands_first_and_no_example_brings_a_key(document: Document) -> None:
    """A page offers the first one; a key would make every order but the first a repetition of it."""
    operation = document["paths"]["/v1/orders"]["post"]
    names = list(operation["requestBody"]["content"]["application/json"]["examples"])

    assert names[0] == "good-order"
    assert "requestId" not in json.dumps(operation["requestBody"]["content"]["application/json"]["examples"])
    assert not [parameter for parameter in operation["parameters"] if "examples" in parameter]


def test_every_card_that_the_protos_name_has_an_order(document: Document) -> None:
    content = document["paths"]["/v1/orders"]["post"]["requestBody"]["content"]["application/json"]
    shown = {example["value"]["cardToken"] for example in content["examples"].values()}

    assert shown == set(content["schema"]["properties"]["cardToken"]["examples"])


def test_whatever_a_path_needs_has_an_example_or_comes_from_an_answer(document: Document) -> None:
    """Nobody has to guess: an article is named, and an order's id is taken from the order that was placed."""
    links = document["paths"]["/v1/orders"]["post"]["responses"]["202"]["links"]
    linked = {link["operationId"]: link["parameters"] for link in links.values()}

    for operation in _operations(document):
        for parameter in operation["parameters"]:
            if parameter["in"] == "path" and not parameter.get("examples"):
                assert linked[operation["operationId"]] == {parameter["name"]: "$response.body#/orderId"}
                assert "in the answer of `placeOrder`" in parameter["description"]


@pytest.mark.parametrize("text", ['{"orderId": 7}', '{"colour": "red"}'])
def test_an_answer_that_is_no_message_of_its_rpc_is_refused_by_name(text: str) -> None:
    (rule,) = (rule for rule in RULES if rule.rpc.name == "GetOrder")
    wrong = rest_pb2.Examples(responses=[rest_pb2.Example(name="wrong", json=text)])

    with pytest.raises(AnnotationError, match=r"shop\.order\.v1\.OrderService\.GetOrder: example wrong"):
        illustrate(_documented(rule), rule, wrong)


def _documented(rule: Rule) -> Document:
    described = openapi.document([rule], {}, {})
    return described["paths"][rule.path.shown][rule.verb.lower()]


async def test_every_error_is_shown_as_it_is_answered(
    client: httpx.AsyncClient, upstream: Upstream, order: Body, document: Document
) -> None:
    """All but the sentences and the trace, which differ from one time to the other."""
    shown = document["components"]["responses"].values()
    by_status = {
        (error := answer["content"]["application/problem+json"]["example"])["status"]: error for answer in shown
    }
    seen: set[int] = set()

    async for answer in _errors(client, upstream, order):
        assert _essence(answer.json()) == _essence(by_status[answer.status_code])
        seen.add(answer.status_code)

    assert seen == by_status.keys()
    for example in by_status.values():
        validate(document, {"$ref": "#/components/schemas/Problem"}, example)


def _essence(problem: Document) -> Document:
    violations = [{**violation, "description": ""} for violation in problem.get("violations", ())]
    return {**problem, "detail": "", "traceId": "", "violations": violations}


async def _errors(client: httpx.AsyncClient, upstream: Upstream, order: Body) -> AsyncIterator[httpx.Response]:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    rejected = upstream.place(upstream.orders[upstream.place()].REJECTED)
    is_json, key = {"content-type": "application/json"}, {"Idempotency-Key": "one"}
    yield await client.post("/v1/orders", json=order(lines=[{"sku": "espresso-beans", "quantity": 0}]))
    yield await client.get(f"/v1/orders/{UNKNOWN_ORDER}")
    yield await client.get(f"/v1/orders/{UNKNOWN_ORDER}:watch", headers={"accept": "text/html"})
    yield await client.post("/v1/orders", content=stuck(), headers=is_json)
    yield await client.post(f"/v1/orders/{rejected}:cancel", json={})
    yield await client.post("/v1/orders", content=b" " * 100_000, headers=is_json)
    yield await client.post("/v1/orders", content=b"{}", headers={"content-type": "text/plain"})
    await client.post("/v1/orders", json=order(), headers=key)
    yield await client.post("/v1/orders", json=order(cardToken="tok_slow"), headers=key)
    for code in (Code.RESOURCE_EXHAUSTED, Code.INTERNAL, Code.UNIMPLEMENTED, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
        upstream.before["GetOrder"] = aborting(code, "words that stay inside")
        yield await client.get(f"/v1/orders/{UNKNOWN_ORDER}")
