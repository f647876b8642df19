"""What a person sees of the store: the newest traces, and one trace as a tree; text for curl, a page for a browser."""

import re

from opentelemetry.proto.trace.v1.trace_pb2 import Span as StoredSpan

from infra.local import trace_list, trace_page, trace_text
from infra.local.otlp_json import traces_json
from infra.local.span_details import DETAILS_MAX, KINDS
from infra.local.spans import Span, one_line, trace_spans
from infra.local.trace_query import MalformedQuery, NothingFound, Parameters
from infra.local.trace_store import StoredTrace, TraceStore
from infra.local.trace_tree import trace_lines

_TRACE_ID = re.compile(r"[0-9a-fA-F]{1,32}")
_LISTED_DEFAULT, _LISTED_MAX = 50, 500
# How many other traces are looked into for what the targets of links are called.
_LINKED_TRACES_MAX = 100
_UNKNOWN = "No such trace is here: it comes up to a second after what it tells of, and the oldest traces are forgotten."

SpanId = tuple[str, str]


def listed(store: TraceStore, parameters: Parameters, url: str, *, as_page: bool) -> str:
    """The newest traces, those of orders or with `all=1` every one; `limit` of them."""
    every = parameters.get("all", "0")
    if every not in ("0", "1"):
        raise MalformedQuery(f"malformed parameter all: {every} is neither 0 nor 1")
    limit = parameters.get("limit", str(_LISTED_DEFAULT))
    if not limit.isdecimal() or not 1 <= int(limit) <= _LISTED_MAX:
        raise MalformedQuery(f"malformed parameter limit: {limit} is no number from 1 to {_LISTED_MAX}")
    summaries = trace_list.newest(store.newest_first(), every=every == "1", limit=int(limit))
    if as_page:
        return trace_page.list_page(summaries, every=every == "1")
    return trace_text.list_text(summaries, url, every=every == "1")


def drawn(store: TraceStore, trace_id: str, parameters: Parameters, url: str, *, as_page: bool) -> str:
    """The tree of a trace; `show` names the details that stand below each span, separated by commas."""
    show = tuple(filter(None, parameters.get("show", "").split(",")))
    unknown = [kind for kind in show if kind not in KINDS]
    if unknown:
        raise MalformedQuery(f"malformed parameter show: {unknown[0]} is none of {', '.join(KINDS)}")
    try:
        trace = stored(store, trace_id)
    except NothingFound:
        raise NothingFound(_UNKNOWN) from None
    spans = list(trace_spans(traces_json([trace])))
    targets = _targets(store, spans) if "links" in show else {}
    lines = trace_lines(spans, show, targets)
    if as_page:
        return trace_page.tree_page(lines, len(spans), trace.trace_id.hex(), show)
    return trace_text.tree_text(lines, len(spans), url, trace.trace_id.hex(), show)


def stored(store: TraceStore, trace_id: str) -> StoredTrace:
    if not _TRACE_ID.fullmatch(trace_id):
        raise MalformedQuery(f"malformed parameter trace_id: {trace_id}")
    trace = store.get(bytes.fromhex(trace_id.zfill(32)))
    if trace is None:
        raise NothingFound("No traces found")
    return trace


def _targets(store: TraceStore, spans: list[Span]) -> dict[SpanId, str]:
    """What the spans of other traces that these link to are called."""
    wanted: dict[str, set[bytes]] = {}
    for span in spans:
        for link in span.links[:DETAILS_MAX]:
            if link.trace_id != span.trace_id:
                wanted.setdefault(link.trace_id, set()).add(bytes.fromhex(link.span_id))
    found: dict[SpanId, str] = {}
    for trace_id in list(wanted)[:_LINKED_TRACES_MAX]:
        trace = store.get(bytes.fromhex(trace_id))
        if trace is not None:
            found |= _names(trace, wanted[trace_id])
    return found


def _names(trace: StoredTrace, span_ids: set[bytes]) -> dict[SpanId, str]:
    found: dict[SpanId, str] = {}
    for origin, spans in trace.spans.items():
        for raw in spans:
            # Parsing is the costly part; only a few spans have the bytes of an id that is asked for.
            if any(span_id in raw for span_id in span_ids):
                span = StoredSpan.FromString(raw)
                found[trace.trace_id.hex(), span.span_id.hex()] = one_line(f"{span.name} ({origin.service})")
    return found
