"""What a service's no says: a code, a reason, the fields at fault, and the trace in which it was said."""

from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cli.failures import Failure, Malformed, NoSystem, Unknown, WrongState

_KINDS: dict[grpc.StatusCode, type[Failure]] = {
    grpc.StatusCode.INVALID_ARGUMENT: Malformed,
    grpc.StatusCode.OUT_OF_RANGE: Malformed,
    grpc.StatusCode.NOT_FOUND: Unknown,
    grpc.StatusCode.UNIMPLEMENTED: Unknown,
    grpc.StatusCode.ALREADY_EXISTS: WrongState,
    grpc.StatusCode.FAILED_PRECONDITION: WrongState,
    grpc.StatusCode.UNAVAILABLE: NoSystem,
    grpc.StatusCode.DEADLINE_EXCEEDED: NoSystem,
}

Json = dict[str, Any]


def failure(service: str, error: grpc.aio.AioRpcError) -> Failure:
    """What to tell a user about a call that was refused or not answered.

    Args:
        service: its short name.
    """
    code = error.code()
    kind = _KINDS.get(code, Failure)
    reason, violations = _details(error)
    details: Json = {"code": code.name, "reason": reason, "violations": violations}
    if trace_id := began_trace(error.trailing_metadata()):
        details["traceId"] = trace_id
    # A refusal of ours has a reason; where none came, nobody of ours has answered.
    if kind is NoSystem and not reason:
        said = f"The {service} service does not answer ({code.name}); `./shop doctor` says more."
        return NoSystem(said, **details)
    fields = [f"{each['field']}: {each['description']}" for each in violations]
    return kind("\n".join(fields) or error.details() or code.name, **details)


def began_trace(metadata: grpc.aio.Metadata | None) -> str:
    """The id of the trace that a call has begun, by its trailing metadata; empty if it began none that is recorded."""
    parts = str((metadata or grpc.aio.Metadata()).get("traceresponse", "")).split("-")
    return parts[1] if len(parts) == 4 and parts[3] != "00" else ""


def _details(error: grpc.aio.AioRpcError) -> tuple[str, list[Json]]:
    """The reason, and the fields at fault."""
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    try:
        # An AioRpcError offers what the function asks of a call, without being one.
        status = rpc_status.from_call(cast(grpc.Call, error))
        for detail in status.details if status else ():
            detail.Unpack(info)
            detail.Unpack(fields)
    except (ValueError, DecodeError):
        # It contradicts itself, or is damaged: nobody of ours wrote it.
        return "", []
    violations = [
        {"field": each.field, "description": each.description, "rule": each.reason} for each in fields.field_violations
    ]
    return info.reason, violations
