"""Every error the gateway answers with: RFC 9457 problem documents, and the one table from gRPC to HTTP.

AioRpcError ─▶ rich status (ErrorInfo, BadRequest, RetryInfo) ─▶ Problem ─▶ application/problem+json
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from opentelemetry import trace

from chassis import grpc_codes

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:shop:problem:"

Header = tuple[bytes, bytes]

# Not of RFC 9110, but what `google.rpc.Code` says of CANCELLED.
CLIENT_CLOSED_REQUEST = 499

HTTP_STATUS: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    grpc.StatusCode.ABORTED: HTTPStatus.CONFLICT,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.CONFLICT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.CANCELLED: CLIENT_CLOSED_REQUEST,
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    # Everything else is a fault of the shop, not of the caller: 500.
}
# HTTP tells apart what gRPC has one code for.
HTTP_STATUS_OF_REASON: dict[str, int] = {"IDEMPOTENCY_KEY_REUSED": HTTPStatus.UNPROCESSABLE_ENTITY}

# Said instead of a message that was not written for the caller.
DETAILS: dict[int, str] = {
    HTTPStatus.SERVICE_UNAVAILABLE: "A service does not answer. Nothing may have been done; try again.",
    HTTPStatus.GATEWAY_TIMEOUT: "A service did not answer in time. Whether the request was carried out is unknown.",
    HTTPStatus.TOO_MANY_REQUESTS: "The shop takes no more requests at the moment; try again later.",
    HTTPStatus.NOT_IMPLEMENTED: "The service does not offer this.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The shop failed to answer. The trace tells why.",
}
_RETRY_AFTER_SECONDS = 1
_GENERAL_RULE = "invalid"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a request: the field's path as the caller wrote it, what it must be, and the rule's id."""

    field: str
    description: str
    rule: str


@dataclass(eq=False)
class Problem(Exception):
    """An answer that is an error; `reason` names its kind for programs, `detail` says it to a person."""

    status: int
    code: str
    reason: str
    detail: str
    violations: tuple[Violation, ...] = ()
    headers: tuple[Header, ...] = ()

    def document(self) -> dict[str, Any]:
        """The problem document, with the id of the current trace."""
        document: dict[str, Any] = {
            "type": TYPE_PREFIX + self.reason.lower().replace("_", "-") if self.reason else "about:blank",
            "title": self.reason.replace("_", " ").capitalize() if self.reason else phrase(self.status),
            "status": int(self.status),
            "detail": self.detail,
            "code": self.code,
        }
        if self.reason:
            document["reason"] = self.reason
        if self.violations:
            document["violations"] = [
                {"field": broken.field, "description": broken.description, "rule": broken.rule}
                for broken in self.violations
            ]
        context = trace.get_current_span().get_span_context()
        # Every span of ours begins here; a parent from elsewhere only says that nothing is recorded.
        if context.is_valid and not context.is_remote:
            document["traceId"] = f"{context.trace_id:032x}"
        return document

    def body(self) -> bytes:
        """The problem document as JSON."""
        return json.dumps(self.document(), ensure_ascii=False, separators=(",", ":")).encode()


def phrase(status: int) -> str:
    """What a status is called."""
    return "Client Closed Request" if status == CLIENT_CLOSED_REQUEST else HTTPStatus(status).phrase


def refusal(status: HTTPStatus, reason: str, detail: str, *headers: Header, code: str = "INVALID_ARGUMENT") -> Problem:
    """What the gateway itself refuses, before any service has seen it."""
    return Problem(status, code, reason, detail, headers=headers)


def invalid(violations: Iterable[Violation], *, reason: str = "INVALID") -> Problem:
    """A request whose fields are wrong."""
    found = tuple(violations)
    detail = "; ".join(
        f"{broken.field}: {broken.description}" if broken.field else broken.description for broken in found
    )
    return Problem(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", reason, detail, found)


def unavailable(detail: str) -> Problem:
    """The gateway itself takes no more at the moment."""
    retry = (b"retry-after", str(_RETRY_AFTER_SECONDS).encode())
    return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "GATEWAY_BUSY", detail, retry, code="UNAVAILABLE")


def internal() -> Problem:
    """A fault of the gateway itself."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return Problem(status, grpc.StatusCode.INTERNAL.name, "", DETAILS[status])


def of_rpc_error(error: grpc.aio.AioRpcError, caller_name: Callable[[str], str]) -> Problem:
    """The problem document for a failed RPC.

    Only what a service wrote for callers is shown, and that is what comes with an `ErrorInfo` or a `BadRequest`;
    any other message may tell of addresses, statements or files.

    Args:
        error: what the call raised.
        caller_name: turns a field's path in proto names into the name the HTTP caller knows.
    """
    code = error.code()
    info, bad_request, retry = _details(error)
    reason = info.reason if info else ""
    status = HTTP_STATUS_OF_REASON.get(reason) or HTTP_STATUS.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
    violations = tuple(
        Violation(caller_name(found.field), found.description, found.reason or _GENERAL_RULE)
        for found in (bad_request.field_violations if bad_request else ())
    )
    meant_for_callers = (info or bad_request) and status < HTTPStatus.INTERNAL_SERVER_ERROR
    if violations:
        detail = invalid(violations).detail
    elif meant_for_callers:
        detail = error.details() or phrase(status)
    else:
        detail = DETAILS.get(status) or phrase(status)
    headers: tuple[Header, ...] = ()
    if status == HTTPStatus.SERVICE_UNAVAILABLE or retry is not None:
        headers = ((b"retry-after", str(_RETRY_AFTER_SECONDS if retry is None else retry).encode()),)
    return Problem(status, code.name, reason, detail, violations, headers)


def _details(
    error: grpc.aio.AioRpcError,
) -> tuple[error_details_pb2.ErrorInfo | None, error_details_pb2.BadRequest | None, int | None]:
    """The rich details of an error, the last one as whole seconds, rounded up; nothing of a status that is damaged."""
    try:
        return _read(error)
    except DecodeError:
        return None, None, None


def _read(
    error: grpc.aio.AioRpcError,
) -> tuple[error_details_pb2.ErrorInfo | None, error_details_pb2.BadRequest | None, int | None]:
    status = grpc_codes.rich_status(error)
    info: error_details_pb2.ErrorInfo | None = None
    bad_request: error_details_pb2.BadRequest | None = None
    retry: int | None = None
    for detail in status.details if status else ():
        found = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(found[0]):
            # What a proxy has to say was not written for our callers.
            info = found[0] if found[0].domain == grpc_codes.DOMAIN else info
        elif detail.Unpack(found[1]):
            bad_request = found[1]
        elif detail.Unpack(found[2]):
            delay = found[2].retry_delay
            retry = delay.seconds + (delay.nanos > 0)
    return info, bad_request, retry
