"""Routes from annotations: an RPC the gateway has never heard of is served; a wrong annotation is refused at start."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from google.protobuf.message_factory import GetMessageClass

from chassis import grpc_client
from gateway.app import create_app
from gateway.rules import AnnotationError, PathTemplate, rules
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
    async with grpc_client.connect(f"127.0.0.1:{port}") as channel:
        app = create_app(settings, {"notes": (service, channel)}, asyncio.Event())
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as requests:
            yield requests
    await server.stop(0)


async def test_a_path_of_several_segments_a_body_field_and_a_query_fill_one_request(
    client: httpx.AsyncClient, asked: list[Any]
) -> None:
    answer = await client.patch(
        "/v1/shelves/1/notes/2?force=true&page=1&page=2&ifUnchangedSince=2026-01-02T03:04:05Z",
        json={"pages": 3, "colour": "RED"},
    )

    assert answer.status_code == 200
    # `response_body` picks one field of the answer.
    assert (answer.json()["name"], answer.json()["pages"]) == ("shelves/1/notes/2", 3)
    (request,) = asked
    assert (request.note.name, request.note.colour, request.force) == ("shelves/1/notes/2", 1, True)
    assert list(request.page) == [1, 2]
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


async def test_verbs_of_different_rules_on_one_path_are_served_side_by_side(client: httpx.AsyncClient) -> None:
    assert (await client.put("/v1/notes/n1")).status_code == 200
    assert (await client.get("/v1/notes/n1")).status_code == 200


async def test_the_description_of_an_unknown_service_is_made_all_the_same(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    assert document["paths"].keys() >= {"/v1/{note.name}", "/v1/notes/{note.name}", "/v1/notes/special"}
    assert document["components"]["schemas"]["Note"]["properties"]["parent"]["$ref"] == "#/components/schemas/Note"


@pytest.mark.parametrize("text", ["v1/x", "/v1/{x", "/v1/*", "/v1/{x}/{x}", "/v1/{x=**/y}", "/v1?x"])
def test_what_is_no_path_template_is_refused(text: str) -> None:
    with pytest.raises(AnnotationError):
        PathTemplate.parse(text)


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
    ],
)
def test_an_annotation_that_cannot_be_served_is_refused_by_the_rpcs_name(
    tmp_path: Path, rule: str, says: str, request: pytest.FixtureRequest
) -> None:
    package = f"wrong{abs(hash(request.node.name))}"
    source = tmp_path / f"{package}.proto"
    source.write_text(
        f"""
        syntax = "proto3";
        package {package};
        import "google/api/annotations.proto";
        message Part {{ string name = 1; }}
        message Thing {{ string name = 1; Part part = 2; }}
        service Things {{ rpc Get(Thing) returns (Thing) {{ option (google.api.http) = {{{rule}}}; }} }}
        """
    )
    service = compiled(source).services_by_name["Things"]

    with pytest.raises(AnnotationError, match=says) as refused:
        rules([service])
    assert f"{package}.Things.Get" in str(refused.value)
