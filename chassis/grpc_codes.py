"""What gRPC's codes say here: how a refusal travels, with its reason and the fields at fault, and whose fault it was.

Source: the error model of google.rpc (`google/rpc/status.proto`), which travels in `grpc-status-details-bin`.
"""

import grpc
import protovalidate
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from chassis import errors

_CODES: dict[type[errors.Refusal], grpc.StatusCode] = {
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Invalids: grpc.StatusCode.INVALID_ARGUMENT,
    errors.WrongState: grpc.StatusCode.FAILED_PRECONDITION,
    errors.KeyReused: grpc.StatusCode.ALREADY_EXISTS,
    errors.Refusal: grpc.StatusCode.FAILED_PRECONDITION,
}
# A server at fault, as against a caller who asked for something impossible (semantic conventions for gRPC servers).
SERVER_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}


def code(refusal: errors.Refusal) -> grpc.StatusCode:
    """The code of a refusal's kind."""
    return next(_CODES[kind] for kind in type(refusal).__mro__ if kind in _CODES)


def violation(found: protovalidate.Violation) -> errors.Violation:
    """One rule of a proto that a request breaks, as a refusal tells it."""
    return errors.Violation(_path(found), found.proto.message, found.proto.rule_id)


def of_refusal(refusal: errors.Refusal) -> grpc.Status:
    """What a server aborts a call with."""
    violations = refusal.violations if isinstance(refusal, errors.Invalids) else []
    if refusal.field:
        violations = [errors.Violation(refusal.field, refusal.message, refusal.reason.lower())]
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=refusal.reason, domain="shop")]
    if violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=violation.field, description=violation.description, reason=violation.rule
                    )
                    for violation in violations
                ]
            )
        )
    status = status_pb2.Status(code=code(refusal).value[0], message=refusal.message)
    for detail in details:
        status.details.append(_packed(detail))
    return rpc_status.to_status(status)


def _path(violation: protovalidate.Violation) -> str:
    """The field of a violation as a path in proto names, such as `lines[0].quantity`."""
    path = ""
    for element in violation.proto.field.elements if violation.proto.field else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None and element.subscript.field == "index":
            path += f"[{element.subscript.value}]"
    return path


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
