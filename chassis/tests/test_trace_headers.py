"""The trace context of a message: read as W3C has it, and dropped where it is broken, as far as it is."""

import pytest
from hypothesis import given, strategies
from opentelemetry.trace import get_current_span

from chassis import telemetry, trace_headers
from chassis.telemetry import TraceContext

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_context_is_passed_on_as_it_came() -> None:
    """It is the parent of what is done about the message."""
    found = trace_headers.read(PARENT, b"rojo=00f067aa0ba902b7,congo@x=t61rcWkgMzE")
    assert found == TraceContext(PARENT.decode(), "rojo=00f067aa0ba902b7,congo@x=t61rcWkgMzE")
    assert f"{get_current_span(telemetry.restore(found)).get_span_context().span_id:016x}" == "b7ad6b7169203331"


@pytest.mark.parametrize(
    "traceparent",
    [
        b"",
        b"\xff" + PARENT[1:],
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333\N{FULLWIDTH DIGIT ONE}-01".encode(),
        PARENT.upper(),
        PARENT + b"\n",
        PARENT + b"-more",
        PARENT + b"0",
        PARENT[:-1],
        b"ff" + PARENT[2:],
        b"0" + PARENT[2:],
        b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        PARENT.replace(b"-", b"_"),
        PARENT + b"," + PARENT,
        b"x" * 1_000_000,
    ],
)
def test_a_broken_parent_is_none(traceparent: bytes) -> None:
    """And its state with it: a state alone says nothing."""
    assert trace_headers.read(traceparent, b"a=b") == TraceContext()


def test_of_a_later_version_what_this_one_knows_is_taken() -> None:
    """As the specification asks for; what is added there is not passed on as if it were understood."""
    assert trace_headers.read(b"cc" + PARENT[2:] + b"-what-the-future-brings", b"").traceparent == PARENT.decode()


@pytest.mark.parametrize(
    "tracestate",
    [
        b"",
        b"\xff=1",
        "a=\N{LATIN SMALL LETTER E WITH ACUTE}".encode(),
        b"no member",
        b"a=b,a=c",
        b"a=b\nc=d",
        b"a=b\x00",
        b"a=" + b"x" * 511,
        b",".join(b"k%d=v" % number for number in range(33)),
    ],
)
def test_a_broken_state_is_dropped_alone(tracestate: bytes) -> None:
    """The trace goes on without it."""
    assert trace_headers.read(PARENT, tracestate) == TraceContext(PARENT.decode())


@given(strategies.binary() | strategies.just(PARENT), strategies.binary())
def test_what_is_left_can_be_sent_on(traceparent: bytes, tracestate: bytes) -> None:
    """As gRPC metadata: short, and printable ASCII."""
    found = trace_headers.read(traceparent, tracestate)
    for part in found:
        assert len(part) <= trace_headers.TRACESTATE_BYTES_MAX
        assert part.isascii()
        assert not part or part.isprintable()
