"""One error of each status, as the gateway answers it; the OpenAPI document shows them."""

from http import HTTPStatus
from typing import Final

from gateway import problems
from gateway.binding import IDEMPOTENCY_KEY
from gateway.problems import DETAILS, Problem, Violation, refusal
from gateway.stream_formats import EVENT_STREAM, JSON_LINES

TRACE_ID: Final = "4bf92f3577b34da6a3ce929d0e0e4736"

_ORDER_ID: Final = "0198d8c4-7f3a-7c21-9b5e-2f6d0c4b8a17"
_A_POSITIVE_QUANTITY: Final = "must be greater than or equal to 1 and less than or equal to 10000"
_ANOTHER_ORDERS_KEY: Final = "this key belongs to an earlier order with other content"
# Those of which a caller learns no more than the gRPC status.
_CODES: Final = {
    HTTPStatus.TOO_MANY_REQUESTS: "RESOURCE_EXHAUSTED",
    HTTPStatus.INTERNAL_SERVER_ERROR: "INTERNAL",
    HTTPStatus.NOT_IMPLEMENTED: "UNIMPLEMENTED",
    HTTPStatus.SERVICE_UNAVAILABLE: "UNAVAILABLE",
    HTTPStatus.GATEWAY_TIMEOUT: "DEADLINE_EXCEEDED",
}

EXAMPLES: Final[tuple[Problem, ...]] = (
    problems.invalid([Violation("lines[0].quantity", _A_POSITIVE_QUANTITY, "int32.gte_lte")]),
    refusal(HTTPStatus.NOT_FOUND, "NOT_FOUND", f"order {_ORDER_ID} does not exist", code="NOT_FOUND"),
    refusal(HTTPStatus.NOT_ACCEPTABLE, "NOT_ACCEPTABLE", f"The stream comes as {EVENT_STREAM} or as {JSON_LINES}."),
    refusal(HTTPStatus.REQUEST_TIMEOUT, "BODY_TOO_SLOW", "The body did not arrive within 10 seconds."),
    refusal(
        HTTPStatus.CONFLICT,
        "WRONG_STATE",
        f"order {_ORDER_ID} was rejected and cannot be cancelled",
        code="FAILED_PRECONDITION",
    ),
    refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "BODY_TOO_LARGE", "A request body has at most 65536 bytes."),
    refusal(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "UNSUPPORTED_MEDIA_TYPE",
        "The body must be JSON: send Content-Type: application/json.",
    ),
    Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "ALREADY_EXISTS",
        "IDEMPOTENCY_KEY_REUSED",
        f"{IDEMPOTENCY_KEY}: {_ANOTHER_ORDERS_KEY}",
        (Violation(IDEMPOTENCY_KEY, _ANOTHER_ORDERS_KEY, "idempotency_key_reused"),),
    ),
    *(Problem(status, code, "", DETAILS[status]) for status, code in _CODES.items()),
)
