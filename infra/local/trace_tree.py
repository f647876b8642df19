"""Draws a trace, as the query API gives it, as an indented tree with times and with the waits in outbox and Kafka."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_NS_PER_MS = 1_000_000
_ERROR = 2


@dataclass(frozen=True, kw_only=True)
class Span:
    """Times are nanoseconds since the epoch."""

    id: str
    parent_id: str
    name: str
    service: str
    start: int
    end: int
    error: str | None
    links: int
    attributes: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One span of the drawing.

    wait: how long it waited before it began, and in what: "12.5 outbox"; empty if it did not.
    guide: what stands left of its name to show where it hangs.
    """

    start_ms: float
    took_ms: float
    wait: str
    service: str
    guide: str
    name: str
    notes: tuple[str, ...]
    error: str | None

    @property
    def times(self) -> str:
        """The columns left of the service, as wide as HEADING."""
        return f"{self.start_ms:9.1f} {self.took_ms:9.1f} {self.wait:>13}"

    @property
    def remarks(self) -> str:
        return "; ".join((*([] if self.error is None else [f"ERROR {self.error}".rstrip()]), *self.notes))


HEADING = f"{'start ms':>9} {'took ms':>9} {'waited ms in':>13}"


def trace_text(answer: dict[str, Any]) -> str:
    """The tree as plain text, a line for each span."""
    lines = trace_lines(answer)
    width = max((len(line.service) for line in lines), default=0)
    heading = f"{HEADING}  {'service':<{width}}  span\n"
    return heading + "".join(_text(line, width) + "\n" for line in lines)


def trace_lines(answer: dict[str, Any]) -> list[Line]:
    spans = sorted(trace_spans(answer), key=lambda span: (span.start, -span.end))
    known = {span.id for span in spans}
    children: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        # A span whose parent is not here hangs from the top, so that it is seen.
        children[span.parent_id if span.parent_id in known else ""].append(span)
    begin = spans[0].start if spans else 0
    return list(_drawn(children, parent_id="", indent="", begin=begin, depth=0))


def trace_spans(answer: dict[str, Any]) -> Iterator[Span]:
    """Every span of the answer, whichever trace, in the order given."""
    for resource_spans in answer["result"]["resourceSpans"]:
        resource = _attributes(resource_spans["resource"])
        for scope_spans in resource_spans["scopeSpans"]:
            for span in scope_spans["spans"]:
                yield _span(span, resource.get("service.name", "?"))


def _drawn(children: dict[str, list[Span]], *, parent_id: str, indent: str, begin: int, depth: int) -> Iterator[Line]:
    siblings = children.get(parent_id, [])
    sent_at = [span.end for span in siblings if span.name.startswith("send ")]
    for span in siblings:
        is_last = span is siblings[-1]
        branch = ("└ " if is_last else "├ ") if depth else ""
        missing = ("its parent is not in this trace",) if span.parent_id and not depth else ()
        yield Line(
            start_ms=(span.start - begin) / _NS_PER_MS,
            took_ms=(span.end - span.start) / _NS_PER_MS,
            service=span.service,
            guide=indent + branch,
            name=span.name,
            wait=_wait(span, sent_at),
            notes=(*_notes(span), *missing),
            error=span.error,
        )
        below = indent + (("  " if is_last else "│ ") if depth else "")
        yield from _drawn(children, parent_id=span.id, indent=below, begin=begin, depth=depth + 1)


def _wait(span: Span, sent_at: list[int]) -> str:
    age_ms = span.attributes.get("shop.outbox.age_ms")
    if age_ms is not None:
        return f"{float(age_ms):.1f} outbox"
    if span.name.startswith("process ") and sent_at:
        # The consumer can be quicker than the acknowledgement that ends `send`; a message may be sent more than once.
        since = max((end for end in sent_at if end <= span.start), default=span.start)
        return f"{(span.start - since) / _NS_PER_MS:.1f} Kafka "
    return ""


def _notes(span: Span) -> Iterator[str]:
    if span.attributes.get("shop.saga.direction") == "compensate":
        yield "compensation"
    if span.attributes.get("shop.saga.attempt", "1") != "1":
        yield f"attempt {span.attributes['shop.saga.attempt']}"
    if span.attributes.get("shop.inbox.outcome") == "duplicate":
        yield "duplicate"
    if span.links:
        yield "1 link" if span.links == 1 else f"{span.links} links"


def _text(line: Line, service_width: int) -> str:
    remarks = f"  [{line.remarks}]" if line.remarks else ""
    return f"{line.times}  {line.service:<{service_width}}  {line.guide}{line.name}{remarks}"


def _span(span: dict[str, Any], service: str) -> Span:
    status = span.get("status", {})
    return Span(
        id=span["spanId"],
        parent_id=span.get("parentSpanId", ""),
        name=span.get("name", ""),
        service=service,
        start=int(span["startTimeUnixNano"]),
        end=int(span["endTimeUnixNano"]),
        error=status.get("message", "") if status.get("code") == _ERROR else None,
        links=len(span.get("links", [])),
        attributes=_attributes(span),
    )


def _attributes(holder: dict[str, Any]) -> dict[str, str]:
    """Scalar attributes as text."""
    return {item["key"]: str(next(iter(item["value"].values()), "")) for item in holder.get("attributes", [])}
