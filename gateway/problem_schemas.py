"""How errors look in the OpenAPI document: the problem document, and the answer for each status."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from gateway import problems
from gateway.problem_examples import EXAMPLES, TRACE_ID
from gateway.schemas import Schema
from gateway.stream_formats import EVENT_STREAM, JSON_LINES

PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "What went wrong, as RFC 9457 has it.",
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "Names the kind of problem."},
        "title": {"type": "string", "description": "The kind of problem, for a person."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What happened this time, for a person."},
        "code": {"type": "string", "description": "The gRPC status, such as `INVALID_ARGUMENT`."},
        "reason": {"type": "string", "description": "The kind of problem, for a program, such as `MALFORMED_JSON`."},
        "violations": {
            "type": "array",
            "description": "Everything that is wrong with the request.",
            "items": {"$ref": "#/components/schemas/Violation"},
        },
        "traceId": {"type": "string", "pattern": "^[0-9a-f]{32}$", "description": "The trace of the request."},
    },
    "required": ["type", "title", "status", "detail", "code"],
}
VIOLATION: Final[Schema] = {
    "type": "object",
    "description": "One thing that is wrong with a request.",
    "properties": {
        "field": {
            "type": "string",
            "description": "The field's path, such as `lines[0].quantity`, or the header's name.",
        },
        "description": {"type": "string", "description": "What it must be."},
        "rule": {"type": "string", "description": "The rule it breaks, such as `int32.gte_lte`."},
    },
    "required": ["field", "description", "rule"],
}
_RETRY_AFTER: Final[Schema] = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}
ERRORS: Final[dict[HTTPStatus, tuple[str, str]]] = {
    HTTPStatus.BAD_REQUEST: ("Invalid", "The request is malformed or breaks a rule; `violations` names every field."),
    HTTPStatus.NOT_FOUND: ("NotFound", "Nothing is stored under that name."),
    HTTPStatus.NOT_ACCEPTABLE: ("NotAcceptable", f"The stream comes as `{EVENT_STREAM}` or as `{JSON_LINES}`."),
    HTTPStatus.REQUEST_TIMEOUT: ("BodyTooSlow", "The body did not arrive in time."),
    HTTPStatus.CONFLICT: ("Conflict", "The state of what the request is about does not allow it."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("BodyTooLarge", "The body is larger than the gateway reads."),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ("UnsupportedMediaType", "The body is not plain `application/json`."),
    HTTPStatus.UNPROCESSABLE_ENTITY: ("KeyReused", "The idempotency key belongs to a request with other content."),
    HTTPStatus.TOO_MANY_REQUESTS: ("TooManyRequests", "The shop takes no more requests at the moment."),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("Internal", "The shop failed to answer."),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Unavailable", "A service does not answer."),
    HTTPStatus.GATEWAY_TIMEOUT: ("Timeout", "A service did not answer in time; the outcome is unknown."),
}
OTHER: Final = "Other"


def components() -> dict[str, Schema]:
    """The answers, as components that operations refer to."""
    examples = {problem.status: {**problem.document(), "traceId": TRACE_ID} for problem in EXAMPLES}
    found = {name: _error(status, text, examples[status]) for status, (name, text) in ERRORS.items()}
    return found | {OTHER: _error(None, "Any other error.", examples[HTTPStatus.NOT_IMPLEMENTED])}


def references(statuses: Iterable[HTTPStatus]) -> dict[HTTPStatus, Schema]:
    """The answers for these statuses."""
    return {status: {"$ref": f"#/components/responses/{ERRORS[status][0]}"} for status in statuses}


def _error(status: HTTPStatus | None, text: str, example: Schema) -> Schema:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    answer: Schema = {"description": text, "content": content}
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        answer["headers"] = {"Retry-After": _RETRY_AFTER}
    return answer
