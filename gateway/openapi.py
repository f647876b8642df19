"""The OpenAPI 3.1 document, derived from the same rules that the routes are made of."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from shop.rest.v1 import rest_pb2

from chassis.version import VERSION
from gateway import problem_schemas
from gateway.binding import AFTER_POSITION_FIELD, IDEMPOTENCY_KEY, LAST_EVENT_ID
from gateway.examples import illustrate, of_parameter
from gateway.links import add_links
from gateway.rules import Rule, field_at, json_path
from gateway.schemas import Direction, Schema, Schemas
from gateway.stream_formats import EVENT_STREAM, JSON_LINES

_ABOUT: Final = (
    "Places orders and follows them. Errors are RFC 9457 problem documents. "
    "Numbers of 64 bits are strings, as proto3 JSON has it; unknown fields and parameters are refused by name."
)
_UNTIL_THE_END: Final = "`curl -N` shows each event as it happens; a page that tries this out shows them at the end."
_KEY_SCHEMA: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]*$"}


def document(
    rules: Iterable[Rule], comments: Mapping[str, str], examples: Mapping[str, rest_pb2.Examples]
) -> dict[str, Any]:
    """The whole document."""
    schemas = Schemas(comments)
    paths: dict[str, dict[str, Any]] = {}
    tags: dict[str, str] = {}
    ids: set[str] = set()
    operations: list[tuple[Schema, Rule]] = []
    for rule in rules:
        service = rule.rpc.containing_service
        tags[service.name] = comments.get(service.full_name, "")
        operation = _operation(_operation_id(rule, ids), rule, schemas, comments)
        if shown := examples.get(rule.rpc.full_name):
            illustrate(operation, rule, shown)
        paths.setdefault(rule.path.shown, {})[rule.verb.lower()] = operation
        operations.append((operation, rule))
    add_links(operations)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Shop", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": paths | _probes(),
        "components": {
            "schemas": {
                **schemas.components,
                "Problem": problem_schemas.PROBLEM,
                "Violation": problem_schemas.VIOLATION,
            },
            "responses": problem_schemas.components(),
        },
    }


def _operation_id(rule: Rule, taken: set[str]) -> str:
    """The RPC's name; the service's before it where two services, or two rules of one RPC, would be called the same."""
    name = rule.rpc.name[0].lower() + rule.rpc.name[1:]
    for candidate in (name, f"{rule.rpc.containing_service.name}.{name}", f"{name}.{rule.verb}.{rule.path.shown}"):
        if candidate not in taken:
            break
    taken.add(candidate)
    return candidate


def _operation(operation_id: str, rule: Rule, schemas: Schemas, comments: Mapping[str, str]) -> Schema:
    comment = comments.get(rule.rpc.full_name, rule.rpc.name)
    operation: Schema = {
        "operationId": operation_id,
        "summary": comment.split(". ")[0].rstrip("."),
        "description": comment,
        "tags": [rule.rpc.containing_service.name],
        "parameters": _parameters(rule, schemas),
        "responses": {str(int(status)): response for status, response in _responses(rule, schemas).items()},
    }
    operation["responses"]["default"] = {"$ref": f"#/components/responses/{problem_schemas.OTHER}"}
    if rule.body:
        schema = _body(rule, schemas)
        content = {"application/json": {"schema": schema}}
        operation["requestBody"] = {"required": bool(schema.get("required")), "content": content}
    return operation


def _parameters(rule: Rule, schemas: Schemas) -> list[Schema]:
    request = rule.rpc.input_type
    places = [(path, path, "path") for path in rule.path.variables]
    places += [(path, json_path(request, path), "query") for path in rule.query]
    found: list[Schema] = []
    for path, name, place in places:
        schema = schemas.field(field_at(request, path), Direction.IN, in_url=True)
        description = schema.pop("description", "") if "$ref" not in schema else schema.get("description", "")
        found.append({"name": name, "in": place, "description": description, **of_parameter(schema), "schema": schema})
        if place == "path":
            found[-1]["required"] = True
    if rule.rest.idempotency_key_field:
        text = "Makes repeating the request safe; without one the gateway makes one and returns it."
        found.append({"name": IDEMPOTENCY_KEY, "in": "header", "description": text, "schema": _KEY_SCHEMA})
    if resumes(rule):
        text = "Resumes behind this event; browsers send it by themselves. It goes before `afterPosition`."
        schema = {"type": "integer", "format": "int64", "minimum": 0}
        found.append({"name": LAST_EVENT_ID, "in": "header", "description": text, "schema": schema})
    return found


def resumes(rule: Rule) -> bool:
    """Whether the RPC's stream can be taken up again behind a position."""
    return rule.rpc.server_streaming and AFTER_POSITION_FIELD in rule.rpc.input_type.fields_by_name


def _body(rule: Rule, schemas: Schemas) -> Schema:
    request = rule.rpc.input_type
    if rule.body != "*":
        return schemas.field(field_at(request, rule.body), Direction.IN)
    # A key may stand in the body too, but it need not: the header has it, or the gateway makes it.
    optional = frozenset({rule.rest.idempotency_key_field})
    return schemas.message(request, Direction.IN, without=frozenset(rule.path.variables), optional=optional)


def _responses(rule: Rule, schemas: Schemas) -> dict[HTTPStatus, Schema]:
    found: dict[HTTPStatus, Schema] = {HTTPStatus(rule.success_status): _success(rule, schemas)}
    if resumes(rule):
        text = "A resumed event stream has nothing more to come: do not connect again."
        found[HTTPStatus.NO_CONTENT] = {"description": text}
    applies = {
        HTTPStatus.BAD_REQUEST: bool(rule.rpc.input_type.fields),
        HTTPStatus.NOT_FOUND: bool(rule.path.variables),
        HTTPStatus.NOT_ACCEPTABLE: rule.rpc.server_streaming,
        HTTPStatus.REQUEST_TIMEOUT: bool(rule.body),
        HTTPStatus.CONFLICT: rule.verb != "GET",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: bool(rule.body),
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: bool(rule.body),
        HTTPStatus.UNPROCESSABLE_ENTITY: bool(rule.rest.idempotency_key_field),
    }
    return found | problem_schemas.references(status for status in problem_schemas.ERRORS if applies.get(status, True))


def _success(rule: Rule, schemas: Schemas) -> Schema:
    message = rule.rpc.output_type
    if rule.response_body:
        schema = schemas.field(field_at(message, rule.response_body), Direction.OUT)
    else:
        schema = schemas.reference(message, Direction.OUT)
    status = HTTPStatus(rule.success_status)
    answer: Schema = {"description": status.phrase, "content": {"application/json": {"schema": schema}}}
    if rule.rpc.server_streaming:
        name = message.name
        events = {"type": "string", "description": f"Each event's data is a {name}; `event: error` carries a Problem."}
        lines = {"type": "string", "description": f'Each line is a {name}; the last one may be `{{"error": Problem}}`.'}
        answer["description"] += f". {_UNTIL_THE_END}"
        # OpenAPI 3.1 has no word for the items of a stream; 3.2 calls it itemSchema.
        answer["content"] = {
            EVENT_STREAM: {"schema": {**events, "x-item-schema": schema}},
            JSON_LINES: {"schema": {**lines, "x-item-schema": schema}},
        }
    headers: Schema = {}
    if rule.rest.location:
        headers["Location"] = _header("Where the resource is.", {"type": "string", "format": "uri-reference"})
    if rule.rest.trace_id_field:
        headers["Link"] = _header('Where a person reads the trace; `rel="trace"`.', {"type": "string"})
    if rule.rest.idempotency_key_field:
        headers[IDEMPOTENCY_KEY] = _header("The key of the request, given or made.", _KEY_SCHEMA)
    return {**answer, "headers": headers} if headers else answer


def _header(description: str, schema: Schema) -> Schema:
    return {"description": description, "schema": schema}


def _probes() -> dict[str, Schema]:
    state: Schema = {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}
    probes = {
        "/healthz": ("healthz", "Whether the gateway runs"),
        "/readyz": ("readyz", "Whether every service takes requests"),
    }
    return {
        path: {
            "get": {
                "operationId": operation_id,
                "summary": summary,
                "tags": ["Probes"],
                "responses": {
                    "200": {"description": "Yes.", "content": {"application/json": {"schema": state}}},
                    "503": {"$ref": "#/components/responses/Unavailable"},
                },
            }
        }
        for path, (operation_id, summary) in probes.items()
    }
