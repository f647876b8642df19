"""Finds stored traces as Jaeger does: a trace matches when one of its spans fulfils the whole query."""

from collections.abc import Iterable, Iterator
from itertools import islice

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from infra.local.trace_query import TraceQuery
from infra.local.trace_store import StoredTrace

# Jaeger's names; a span that states no kind has none here either.
_KIND_NAMES = {
    Span.SPAN_KIND_INTERNAL: "internal",
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_PRODUCER: "producer",
    Span.SPAN_KIND_CONSUMER: "consumer",
}


def find_traces(traces: Iterable[StoredTrace], query: TraceQuery) -> list[StoredTrace]:
    return list(islice((trace for trace in traces if _matches(trace, query)), query.depth))


def operations(traces: Iterable[StoredTrace], service: str, kind: str) -> list[dict[str, str]]:
    found: set[tuple[str, str]] = set()
    for trace in traces:
        for raw in _spans_of(trace, service):
            span = Span.FromString(raw)
            found.add((span.name, _KIND_NAMES.get(span.kind, "")))
    return [
        {"name": name, "spanKind": span_kind} if span_kind else {"name": name}
        for name, span_kind in sorted(found)
        if not kind or kind == span_kind
    ]


def _matches(trace: StoredTrace, query: TraceQuery) -> bool:
    words = _words(query)
    return any(
        _span_matches(Span.FromString(raw), query)
        for raw in _spans_of(trace, query.service)
        # Parsing is the costly part; most spans lack a word of the query and need none.
        if all(word in raw for word in words)
    )


def _spans_of(trace: StoredTrace, service: str) -> Iterator[bytes]:
    for origin, spans in trace.spans.items():
        if not service or origin.service == service:
            yield from spans


def _words(query: TraceQuery) -> list[bytes]:
    """What the bytes of every matching span contain."""
    texts = (value for value in query.attributes.values() if _is_surely_text(value))
    return [word.encode() for word in (query.operation, *query.attributes, *texts)]


def _is_surely_text(value: str) -> bool:
    """Whether only a string attribute can have this value: numbers and booleans are not spelt out in a span's bytes."""
    try:
        float(value)
    except ValueError:
        return value not in ("true", "false")
    return False


def _span_matches(span: Span, query: TraceQuery) -> bool:
    duration = span.end_time_unix_nano - span.start_time_unix_nano
    if query.operation and span.name != query.operation:
        return False
    if not query.start_min <= span.start_time_unix_nano <= query.start_max:
        return False
    if query.duration_min is not None and duration < query.duration_min:
        return False
    if query.duration_max is not None and duration > query.duration_max:
        return False
    return all(_has(span, key, value) for key, value in query.attributes.items())


def _has(span: Span, key: str, value: str) -> bool:
    return any(item.key == key and _text(item.value) == value for item in span.attributes)


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    return "" if kind is None else str(getattr(value, kind))
