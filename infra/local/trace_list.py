"""Lists stored traces, the newest first: those of orders, which the small traces of polls and probes would hide."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from infra.local.spans import one_line
from infra.local.trace_store import StoredTrace

_ORDER_ID = "shop.order.id"
_PLACED = "POST /v1/orders"
# A request that only reads, by REST or by gRPC.
_READS = re.compile(r"GET |.*/(Get|List|Watch)\w*$")
# The promise of an event about the order's own state; the last one says what became of it.
_SAID = re.compile(r"create order\.events (\w+)")
# Every trace of an order has one of these words in its bytes; most traces have none, and need no parsing.
_WORDS = (_ORDER_ID.encode(), _PLACED.encode())
# How far back orders are looked for; this many reads of orders take half a second to look at.
EXAMINED_MAX = 10_000
_NS_PER_S, _NS_PER_MS = 10**9, 10**6


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A trace in a line.

    began: in the time zone of this machine.
    name: of its first span.
    order_id: of the order that it is about; empty if it is about none, or about several.
    last_event: the last one that the order itself published in it, such as OrderConfirmed; empty if there is none.
    services: in the order in which they came into it.
    failed: how many spans failed.
    """

    trace_id: str
    began: datetime
    took_ms: float
    name: str
    order_id: str
    last_event: str
    services: tuple[str, ...]
    spans: int
    failed: int


def newest(traces: Iterable[StoredTrace], *, every: bool, limit: int) -> list[Summary]:
    """The newest traces, at most so many: of requests that did something for an order, or every one.

    Orders are looked for among the EXAMINED_MAX newest traces.
    """
    examined = _spans(islice(traces, EXAMINED_MAX), every=every)
    found = (_summary(trace, spans) for trace, spans in examined if every or _is_of_order(spans))
    # They come in the order in which their first spans were received, which is nearly that of their beginnings.
    return sorted(islice(found, limit), key=lambda summary: summary.began, reverse=True)


Spans = list[tuple[str, Span]]


def _spans(traces: Iterable[StoredTrace], *, every: bool) -> Iterator[tuple[StoredTrace, Spans]]:
    """Each trace with its spans and their services, by their start."""
    for trace in traces:
        raw = [(origin.service, span) for origin, spans in trace.spans.items() for span in spans]
        if every or any(word in span for word in _WORDS for _, span in raw):
            parsed = [(service, Span.FromString(span)) for service, span in raw]
            yield trace, sorted(parsed, key=lambda each: (each[1].start_time_unix_nano, -each[1].end_time_unix_nano))


def _is_of_order(spans: Spans) -> bool:
    first = _first(spans)
    if first.kind != Span.SPAN_KIND_SERVER or _READS.match(first.name):
        return False
    return first.name == _PLACED or any(item.key == _ORDER_ID for item in first.attributes)


def _first(spans: Spans) -> Span:
    """Where the drawing of the trace begins: the earliest span whose parent is not in it."""
    known = {span.span_id for _, span in spans}
    return next((span for _, span in spans if span.parent_span_id not in known), spans[0][1])


def _summary(trace: StoredTrace, spans: Spans) -> Summary:
    begin = spans[0][1].start_time_unix_nano
    end = max(span.end_time_unix_nano for _, span in spans)
    order_ids = {item.value.string_value for _, span in spans for item in span.attributes if item.key == _ORDER_ID}
    said = [match[1] for _, span in spans if (match := _SAID.match(span.name))]
    return Summary(
        trace_id=trace.trace_id.hex(),
        began=datetime.fromtimestamp(begin / _NS_PER_S, tz=UTC).astimezone(),
        took_ms=(end - begin) / _NS_PER_MS,
        name=one_line(_first(spans).name),
        order_id=one_line(order_ids.pop()) if len(order_ids) == 1 else "",
        last_event=said[-1] if said else "",
        services=tuple(dict.fromkeys(one_line(service) for service, _ in spans)),
        spans=len(spans),
        failed=sum(span.status.code == Status.STATUS_CODE_ERROR for _, span in spans),
    )
