"""The spans of a trace as the query API gives them, read into what a drawing needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_ERROR = 2
# By the numbers that OTLP gives them; what came from no program of ours may be of any other kind, or of none.
_KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}

Attributes = dict[str, str]


@dataclass(frozen=True, slots=True)
class Link:
    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a moment of the span; `at` is nanoseconds since the epoch."""

    name: str
    at: int
    attributes: Attributes


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One span; times are nanoseconds since the epoch.

    kind: UNSPECIFIED, INTERNAL, SERVER, CLIENT, PRODUCER or CONSUMER.
    instance: the process that it comes from.
    error: None unless it failed, and empty if it does not say why.
    """

    id: str
    trace_id: str
    parent_id: str
    name: str
    service: str
    kind: str
    instance: str
    start: int
    end: int
    error: str | None
    links: tuple[Link, ...]
    events: tuple[Event, ...]
    attributes: Attributes


def trace_spans(answer: dict[str, Any]) -> Iterator[Span]:
    """Every span of the answer, whichever trace, in the order given."""
    for resource_spans in answer["result"]["resourceSpans"]:
        resource = _attributes(resource_spans["resource"])
        for scope_spans in resource_spans["scopeSpans"]:
            for span in scope_spans["spans"]:
                yield _span(span, resource.get("service.name", "?"), resource.get("service.instance.id", ""))


def one_line(text: str) -> str:
    """On one line, and without what a terminal would obey."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in " ".join(text.split()))


def _span(span: dict[str, Any], service: str, instance: str) -> Span:
    status, attributes = span.get("status", {}), _attributes(span)
    why = one_line(status.get("message", "")) or attributes.get("error.type", "")
    return Span(
        id=span["spanId"],
        trace_id=span["traceId"],
        parent_id=span.get("parentSpanId", ""),
        name=one_line(span.get("name", "")),
        service=service,
        kind=_KINDS.get(span.get("kind", 0), "UNSPECIFIED"),
        instance=instance,
        start=int(span["startTimeUnixNano"]),
        end=int(span["endTimeUnixNano"]),
        error=why if status.get("code") == _ERROR else None,
        links=tuple(Link(link["traceId"], link["spanId"], _attributes(link)) for link in span.get("links", [])),
        events=tuple(
            Event(one_line(event.get("name", "")), int(event.get("timeUnixNano", 0)), _attributes(event))
            for event in span.get("events", [])
        ),
        attributes=attributes,
    )


def _attributes(holder: dict[str, Any]) -> Attributes:
    """By key, each value as text; a list as its elements, one after the other."""
    return {one_line(item["key"]): one_line(_text(item["value"])) for item in holder.get("attributes", [])}


def _text(value: dict[str, Any]) -> str:
    match value:
        case {"arrayValue": {"values": elements}}:
            return ", ".join(_text(element) for element in elements)
        case {"kvlistValue": {"values": items}}:
            return ", ".join(f"{item['key']}={_text(item['value'])}" for item in items)
        case {"boolValue": is_true}:
            return "true" if is_true else "false"
        case _:
            return str(next(iter(value.values()), ""))
