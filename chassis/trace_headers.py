"""The trace context that a message brings: what is broken of it costs the trace, never the message.

What passes can be stored in a row, sent on as a header, and as gRPC metadata, which takes printable ASCII alone and
not much of it.

Source: W3C Trace Context, level 2, sections 3.2 and 3.3.
"""

import re

from opentelemetry.trace import TraceState

from chassis.telemetry import TraceContext

# Of a later version, what this one knows; the rest is not passed on.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}(-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-.*)?")
_VERSION, _VERSION_LENGTH = b"00-", 55
# What everybody passes on at least (3.3.1.5); longer ones may be dropped.
TRACESTATE_BYTES_MAX = 512
_PRINTABLE = re.compile(rb"[\x20-\x7e\t]+")


def read(traceparent: bytes, tracestate: bytes) -> TraceContext:
    """The context, as far as it is one; an empty one where `traceparent` is missing or broken."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or (traceparent.startswith(_VERSION) and len(traceparent) != _VERSION_LENGTH):
        return TraceContext()
    return TraceContext(f"00{found[1].decode()}", _state(tracestate) if tracestate else "")


def _state(tracestate: bytes) -> str:
    if len(tracestate) > TRACESTATE_BYTES_MAX or not _PRINTABLE.fullmatch(tracestate):
        return ""
    # Empty if one member of it is malformed or stands there twice.
    return TraceState.from_header([tracestate.decode()]).to_header()
