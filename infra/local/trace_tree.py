"""Draws a trace as an indented tree with times, with waits, and with what to note of each span.

The two waits of a message have one definition each, and are read from the spans: in the outbox, from `create` to the
timestamp of the Kafka record; on Kafka, from there to the start of `process`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from infra.local.broker import FETCH_WAIT_MS_MAX
from infra.local.span_details import Detail, details
from infra.local.spans import Span

_NS_PER_MS = 1_000_000
# A trace that nobody meant to draw, such as one that a broken client never ends.
LINES_MAX = 1_000

MOCK_BROKER, KAFKA = "mock broker", "Kafka"
# Where a span's work had waited, by the attribute that says how long, in milliseconds.
_WAITS = {
    "shop.outbox.age_ms": "outbox",
    "shop.kafka.age_ms": MOCK_BROKER,
    "shop.command.age_ms": "command outbox",
}
_WAIT_WIDTH = max(map(len, _WAITS.values()))
HEADING = f"{'start ms':>9} {'took ms':>9}  {'waited ms in':<{_WAIT_WIDTH + 8}}"


_LEGEND = {
    "outbox": "outbox: from the promise, which is the event's row, until the broker had the message.",
    MOCK_BROKER: (
        f"{MOCK_BROKER}: from then until the consumer began. It stands in for Kafka here, and holds a fetch for up to"
        f" {FETCH_WAIT_MS_MAX} ms; a real broker adds a few milliseconds."
    ),
    KAFKA: f"{KAFKA}: from then until the consumer began.",
    "command outbox": "command outbox: from the saga's decision until this try of the call.",
    "batch": (
        "batch of N: N messages shared a transaction. The statements that are named served all of them, and stand in"
        " the batch's own trace, which the span links to."
    ),
}


class Wait(NamedTuple):
    ms: float
    place: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One span of the drawing.

    guide: what stands left of its name to show where it hangs; `below` stands left of its details.
    wait: how long its work had waited before it began, and where.
    """

    span: Span
    start_ms: float
    took_ms: float
    wait: Wait | None
    guide: str
    below: str
    notes: tuple[str, ...]
    details: tuple[Detail, ...]

    @property
    def times(self) -> str:
        """The columns left of the service, as wide as HEADING."""
        wait = f"{self.wait.ms:7.1f} {self.wait.place}" if self.wait else ""
        return f"{self.start_ms:9.1f} {self.took_ms:9.1f}  {wait:<{_WAIT_WIDTH + 8}}"

    @property
    def remarks(self) -> str:
        error = self.span.error
        return "; ".join((*([] if error is None else [f"ERROR {error}".rstrip()]), *self.notes))


def trace_lines(
    trace: Iterable[Span],
    show: Collection[str] = (),
    targets: Mapping[tuple[str, str], str] | None = None,
    *,
    broker: str = MOCK_BROKER,
) -> list[Line]:
    """The lines of the drawing, from the top; at most LINES_MAX.

    Args:
        show: which details stand below each span; see `span_details.KINDS`.
        targets: what spans of other traces are called, by trace and span id; asked for when links are shown.
        broker: what the wait on it is called, MOCK_BROKER or KAFKA.
    """
    spans = sorted(trace, key=lambda span: (span.start, -span.end))
    named = {(span.trace_id, span.id): f"{span.name} ({span.service})" for span in spans} | dict(targets or {})
    known = {span.id for span in spans}
    children: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        # A span whose parent is not here hangs from the top, so that it is seen.
        children[span.parent_id if span.parent_id in known else ""].append(span)
    begin = spans[0].start if spans else 0
    return [
        Line(
            span=span,
            start_ms=(span.start - begin) / _NS_PER_MS,
            took_ms=(span.end - span.start) / _NS_PER_MS,
            wait=_wait(span, broker),
            guide=guide,
            below=below + ("│ " if span.id in children else "  "),
            notes=(*_notes(span), *(("its parent is not in this trace",) if span.parent_id and not guide else ())),
            details=details(span, show, named),
        )
        for span, guide, below in islice(_hung(children), LINES_MAX)
    ]


def legend(lines: Sequence[Line]) -> list[str]:
    """What stands in these lines and is not plain, a sentence each."""
    found = {line.wait.place for line in lines if line.wait}
    if any(_shares_a_transaction(line.span) for line in lines):
        found.add("batch")
    return [sentence for term, sentence in _LEGEND.items() if term in found]


def _hung(children: Mapping[str, list[Span]]) -> Iterator[tuple[Span, str, str]]:
    """Each span with the guide of its own line and of those below; not by recursion, for a trace may be any depth."""
    waiting = [(span, "", "") for span in reversed(children.get("", []))]
    while waiting:
        span, guide, below = waiting.pop()
        yield span, guide, below
        siblings = children.get(span.id, [])
        for child in reversed(siblings):
            is_last = child is siblings[-1]
            waiting.append((child, below + ("└ " if is_last else "├ "), below + ("  " if is_last else "│ ")))


def _wait(span: Span, broker: str) -> Wait | None:
    for attribute, place in _WAITS.items():
        # What is no number came from no program of ours.
        with suppress(KeyError, ValueError):
            return Wait(float(span.attributes[attribute]), broker if place == MOCK_BROKER else place)
    return None


def _notes(span: Span) -> Iterator[str]:
    """What tells this span from others of its name: which try it was, what it undid, what was said no to."""
    has = span.attributes
    if has.get("shop.saga.direction") == "compensate":
        yield "compensation"
    if has.get("shop.saga.attempt", "1") != "1":
        yield f"attempt {has['shop.saga.attempt']}"
    tried = has.get("shop.command.try") or has.get("shop.payment.attempt")
    # One that did well at once needs no number.
    if tried is not None and (tried != "1" or span.error is not None):
        yield f"try {tried}"
    if "shop.command.probe" in has:
        yield "probe"
    if has.get("shop.inbox.outcome") == "duplicate":
        yield "duplicate"
    if _shares_a_transaction(span):
        yield f"batch of {has['shop.batch.messages']}: {has.get('shop.batch.statements', '')}".rstrip(": ")
    if "shop.refusal" in has:
        yield f"refused: {has['shop.refusal']}"
    if "shop.saga.facts" in has:
        yield has["shop.saga.facts"]


def _shares_a_transaction(span: Span) -> bool:
    return span.attributes.get("shop.batch.messages", "1") != "1"
