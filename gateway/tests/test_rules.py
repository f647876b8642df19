"""Routes from annotations: an RPC the gateway has never heard of is served; a wrong annotation is refused at start."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from google.protobuf.message_factory import GetMessageClass

from chassis import grpc_client
from explorer.client import Client
from gateway.app import create_app
from gateway.paths import AnnotationError, PathTemplate, unescaped
from gateway.rules import rules
from gateway.settings import GatewaySettings
from gateway.tests.notes import compiled, note_class, notes


@pytest.fixture
async def asked() -> list[Any]:
    """The requests that reached the note service."""
    return []


@pytest.fixture
async def client(settings: GatewaySettings, asked: list[Any]) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway for the note service alone."""
    service = notes().services_by_name["NoteService"]

    async def update(request: Any, _context: Any) -> Any:
        asked.append(request)
        return GetMessageClass(service.methods_by_name["UpdateNote"].output_type)(note=request.note, version=2)

    async def read(request: Any, _context: Any) -> Any:
        asked.append(request)
        return note_class()(name=request.name)

    async def read_special(request: Any, _context: Any) -> Any:
        asked.append(request)
        return note_class()(name="special")

    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            handler,
            request_deserializer=GetMessageClass(service.methods_by_name[name].input_type).FromString,
            response_serializer=GetMessageClass(service.methods_by_name[name].output_type).SerializeToString,
        )
        for name, handler in {"UpdateNote": update, "ReadNote": read, "ReadSpecialNote": read_special}.items()
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc_client.connect(f"127.0.0.1:{port}") as channel, Client() as explorer:
        app = create_app(settings, {"notes": (service, channel)}, asyncio.Event(), explorer)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as requests:
            yield requests
    await server.stop(0)


async def test_a_path_of_several_segments_a_body_field_and_a_query_fill_one_request(
    client: httpx.AsyncClient, asked: list[Any]
) -> None:
    answer = await client.patch(
        "/v1/shelves/1/notes/2?force=true&page=1&page=2e0&ifUnchangedSince=2026-01-02T03:04:05Z&isFinal=false",
        json={"pages": 3, "colour": "RED"},
    )

    assert answer.status_code == 200
    # `response_body` picks one field of the answer.
    assert (answer.json()["name"], answer.json()["pages"]) == ("shelves/1/notes/2", 3)
    (request,) = asked
    assert (request.note.name, request.note.colour, request.force) == ("shelves/1/notes/2", 1, True)
    assert list(request.page) == [1, 2]
    assert (request.HasField("is_final"), request.is_final.value) == (True, False)
    assert request.if_unchanged_since.ToJsonString() == "2026-01-02T03:04:05Z"


async def test_a_violation_in_a_body_field_is_named_from_the_request_on(client: httpx.AsyncClient) -> None:
    answer = await client.patch("/v1/shelves/1/notes/2?force=maybe", json={"parts": [{"colour": "GREEN"}]})

    assert [found["field"] for found in answer.json()["violations"]] == ["note.parts[0].colour", "force"]


async def test_an_additional_binding_is_served_with_its_own_rules(client: httpx.AsyncClient, asked: list[Any]) -> None:
    """It has no body of its own, so that the query sets the fields."""
    answer = await client.put("/v1/notes/n1?note.isDraft=true&note.pages=7")

    assert answer.status_code == 200
    assert (asked[0].note.name, asked[0].note.is_draft, asked[0].note.pages) == ("n1", True, 7)


async def test_two_stars_take_the_rest_of_the_path_but_a_fixed_path_wins(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/notes/a/b/c")).json()["name"] == "a/b/c"
    assert (await client.get("/v1/notes/special")).json()["name"] == "special"


@pytest.mark.parametrize("query", ["labels=x", "labels=%7B%7D"])
async def test_a_field_that_no_text_can_stand_for_is_no_parameter(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.patch(f"/v1/shelves/1/notes/2?{query}", json={})
    document = (await client.get("/openapi.json")).json()

    assert answer.status_code == 400
    assert [found["rule"] for found in answer.json()["violations"]] == ["query.unknown_parameter"]
    parameters = document["paths"]["/v1/{note.name}"]["patch"]["parameters"]
    assert [each["name"] for each in parameters if each["in"] == "query"] == [
        "force",
        "page",
        "ifUnchangedSince",
        "isFinal",
    ]


async def test_a_bad_value_of_a_wrapper_is_refused_by_name(client: httpx.AsyncClient) -> None:
    answer = await client.patch("/v1/shelves/1/notes/2?isFinal=maybe", json={})

    assert [found["field"] for found in answer.json()["violations"]] == ["isFinal"]


async def test_verbs_of_different_rules_on_one_path_are_served_side_by_side(client: httpx.AsyncClient) -> None:
    assert (await client.put("/v1/notes/n1")).status_code == 200
    assert (await client.get("/v1/notes/n1")).status_code == 200


async def test_the_description_of_an_unknown_service_is_made_all_the_same(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    assert document["paths"].keys() >= {"/v1/{note.name}", "/v1/notes/{note.name}", "/v1/notes/special"}
    assert document["components"]["schemas"]["Note"]["properties"]["parent"]["$ref"] == "#/components/schemas/Note"


@pytest.mark.parametrize("text", ["v1/x", "/v1/{x", "/v1/*", "/v1/{x}/{x}", "/v1/{x=**/y}", "/v1?x", "/v1/caf\u00e9"])
def test_what_is_no_path_template_is_refused(text: str) -> None:
    with pytest.raises(AnnotationError):
        PathTemplate.parse(text)


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("/v1/{x}", b"/v1/a:b", ("a:b",)),
        ("/v1/{x}", b"/v1/a%2Fb%3Ac", ("a/b:c",)),
        ("/v1/{x}/y", b"/v1/a:b/y", ("a:b",)),
        ("/v1/{x}:go", b"/v1/a:go", ("a",)),
        ("/v1/{x}:go", b"/v1/a%3Ab:go", ("a:b",)),
        ("/v1/{x}:go", b"/v1/a:b:go", None),
        ("/v1/{x}:go", b"/v1/a%3Ago", None),
        ("/v1/{x=a/*/b/*}:go", b"/v1/a/m:n/b/o:go", ("a/m:n/b/o",)),
        ("/v1/{x=**}", b"/v1/a/b%2Fc%20d", ("a/b%2Fc d",)),
        ("/v1/{x=a/*}", b"/v1/a/b%2fc", ("a/b%2fc",)),
        ("/v1/{x=**}:go", b"/v1/a:b/c:go", ("a:b/c",)),
        ("/v1/{x=**}:go", b"/v1/a/b:c:go", None),
        ("/v1/{x}", b"/v1/", None),
        ("/v1/{x}", b"/v1/a/b", None),
    ],
)
def test_a_path_is_matched_as_it_travels(template: str, path: bytes, values: tuple[str, ...] | None) -> None:
    """A colon divides only before a verb; an escaped slash stays escaped where others divide a value's segments."""
    parsed = PathTemplate.parse(template)
    found = parsed.pattern.fullmatch(path)
    shown = (
        tuple(
            unescaped(raw, spans_segments=name in parsed.spanning)
            for name, raw in zip(parsed.variables, found.groups(), strict=True)
        )
        if found
        else None
    )

    assert shown == values


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ('get: "/v1/x/{nom}"', "has no field nom"),
        ('get: "/v1/x/{part}"', "part cannot stand in a path"),
        ('get: "/v1/x/{part.nom}"', "has no field nom"),
        ('post: "/v1/x" body: "nom"', "has no field nom"),
        ('get: "/v1/x" response_body: "nom"', "has no field nom"),
        ('body: "*"', "the rule has no path"),
        ('get: "/v1/x" additional_bindings {get: "/v1/x"}', "both GET /v1/x"),
        ('post: "/v1/x" body: "part.name"', "part.name is not a field of .*Thing itself"),
        ('get: "/v1/x" response_body: "part.name"', "part.name is not a field of .*Thing itself"),
        ('get: "/v1/x" response_body: "name"', "name cannot be the whole answer"),
        ('get: "/v1/x" response_body: "parts"', "parts cannot be the whole answer"),
        ('get: "/v1/x" response_body: "by_name"', "by_name cannot be the whole answer"),
        ('custom: {kind: "*" path: "/v1/x"}', "no verb the gateway can serve"),
    ],
)
def test_an_annotation_that_cannot_be_served_is_refused_by_the_rpcs_name(
    tmp_path: Path, rule: str, says: str, request: pytest.FixtureRequest
) -> None:
    option = f"option (google.api.http) = {{{rule}}};"

    assert re.search(says, _refused(tmp_path, request, f"rpc Get(Thing) returns (Thing) {{ {option} }}"))


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("success_status: 204", "success_status is 200, 201 or 202, not 204"),
        ("success_status: 299", "success_status is 200, 201 or 202, not 299"),
        ('location: "/v1/x/{nom}"', "has no field nom"),
        ('location: "/v1/x/{parts}"', "parts cannot stand in a location"),
        ('location: "/v1/x/{name=*}"', "a location has no patterns"),
        ('trace_id_field: "part"', "part cannot hold a trace id"),
        ('idempotency_key_field: "parts"', "parts cannot take a key"),
        ('idempotency_key_field: "part.name"', "part.name is not a field of .*Thing itself"),
    ],
)
def test_an_option_that_cannot_be_served_is_refused_too(
    tmp_path: Path, rest: str, says: str, request: pytest.FixtureRequest
) -> None:
    options = f'option (google.api.http) = {{get: "/v1/x"}}; option (shop.rest.v1.rest) = {{{rest}}};'

    assert re.search(says, _refused(tmp_path, request, f"rpc Get(Thing) returns (Thing) {{ {options} }}"))


@pytest.mark.parametrize(
    ("http", "rest"),
    [
        ('response_body: "part"', ""),
        ("", "success_status: 202"),
        ("", 'location: "/v1/x/{name}"'),
        ("", 'trace_id_field: "name"'),
    ],
)
def test_what_a_stream_cannot_answer_with_is_refused(
    tmp_path: Path, http: str, rest: str, request: pytest.FixtureRequest
) -> None:
    """Its head is sent before there is a message; the description would promise what never comes."""
    options = f'option (google.api.http) = {{get: "/v1/x" {http}}}; option (shop.rest.v1.rest) = {{{rest}}};'

    says = f"a stream of responses has no {(http or rest).partition(':')[0]}"
    assert says in _refused(tmp_path, request, f"rpc Get(Thing) returns (stream Thing) {{ {options} }}")


def _refused(folder: Path, request: pytest.FixtureRequest, rpc: str) -> str:
    """Why a service of this one RPC, `Get`, is refused."""
    package = f"wrong{abs(hash(request.node.name))}"
    source = folder / f"{package}.proto"
    source.write_text(
        f"""
        syntax = "proto3";
        package {package};
        import "google/api/annotations.proto";
        import "shop/rest/v1/rest.proto";
        message Part {{ string name = 1; }}
        message Thing {{ string name = 1; Part part = 2; repeated Part parts = 3; map<string, Part> by_name = 4; }}
        service Things {{ {rpc} }}
        """
    )
    service = compiled(source).services_by_name["Things"]

    with pytest.raises(AnnotationError) as refused:
        rules([service])
    assert f"{package}.Things.Get" in str(refused.value)
    return str(refused.value)
