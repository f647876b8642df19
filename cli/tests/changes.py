"""One thing at a time changed in traces, at every place where it can be; and changes that tell no other story."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from infra.local.spans import Link, Span

Traces = list[tuple[str, list[Span]]]

NOWHERE = Link("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", {})
KINDS = ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
# What a skeleton has to tell of a span that has it.
KEYS = (
    "messaging.consumer.group.name",
    "shop.inbox.outcome",
    "shop.saga.direction",
    "shop.saga.step",
    "shop.saga.step_before",
    "shop.saga.reason",
    "shop.saga.facts",
    "shop.reservation.outcome",
    "shop.payment.outcome",
    "http.response.status_code",
    "rpc.status_code",
    "error.type",
    "db.query.summary",
)
# Among them what is not written as long as it is the usual, or is what the line says anyway: whether it is there is not
# told then.
UNSAID = ("shop.inbox.outcome", "rpc.status_code", "shop.saga.step", "error.type")
# What is another each time.
BY_CHANCE = (
    "messaging.destination.partition.id",
    "messaging.kafka.offset",
    "messaging.kafka.message.key",
    "messaging.message.id",
    "shop.command.age_ms",
    "shop.command.probe",
    "shop.command.try",
    "shop.kafka.age_ms",
    "shop.order.id",
    "shop.outbox.age_ms",
    "shop.payment.attempt",
    "shop.payment.id",
    "shop.saga.attempt",
)


@dataclass(frozen=True)
class Change:
    """Traces in which one thing is otherwise: `says` what; `name` is that of the span, `other` that of a new parent."""

    says: str
    name: str
    traces: Traces
    other: str = ""


# How it is changed, the spans, and the name of a new parent.
Changed = Iterator[tuple[str, list[Span]] | tuple[str, list[Span], str]]
ChangeOf = Callable[[list[Span], Span], Changed]
SameStory = Callable[[Traces], Traces]


def every(change: ChangeOf, traces: Traces) -> Iterator[Change]:
    """The change at each span of each trace, in each way there is."""
    for at, (title, spans) in enumerate(traces):
        for span in spans:
            for how, changed, *other in change(spans, span):
                says = f"{title}: {span.service} {span.kind} {span.name}: {how}"
                yield Change(says, span.name, [*traces[:at], (title, changed), *traces[at + 1 :]], *other)


# ---- one thing at a time ----


def gone(spans: list[Span], span: Span) -> Changed:
    left = [each for each in spans if each is not span]
    yield (
        "it is gone, and what was below it is below its parent",
        [replace(each, parent_id=span.parent_id) if each.parent_id == span.id else each for each in left],
    )
    if any(each.parent_id == span.id for each in spans):
        yield "it is gone, and what was below it has lost its parent", left


def another_parent(spans: list[Span], span: Span) -> Changed:
    for parent in spans:
        if parent.id != span.parent_id:
            who = "itself" if parent is span else f"{parent.service} {parent.kind} {parent.name}"
            yield f"its parent is {who}", _with(spans, span, parent_id=parent.id), parent.name
    yield "its parent is not there", _with(spans, span, parent_id=NOWHERE.span_id)
    if span.parent_id:
        yield "it has no parent", _with(spans, span, parent_id="")


def a_link_gone(spans: list[Span], span: Span) -> Changed:
    for at, link in enumerate(span.links):
        yield f"its link to {link.span_id} is gone", _with(spans, span, links=span.links[:at] + span.links[at + 1 :])


def another_link(spans: list[Span], span: Span) -> Changed:
    known = {span.id for span in spans}
    for at, link in enumerate(span.links):
        others = [Link(span.trace_id, each.id, link.attributes) for each in spans if each.id != link.span_id]
        # Which trace it is that is not shown, nobody can tell.
        others += [NOWHERE] if link.span_id in known else []
        for other in others:
            links = (*span.links[:at], other, *span.links[at + 1 :])
            yield f"it links to {other.span_id} and not to {link.span_id}", _with(spans, span, links=links)
    yield "it has one more link", _with(spans, span, links=(*span.links, NOWHERE))


def another_status(spans: list[Span], span: Span) -> Changed:
    yield "its status is turned", _with(spans, span, error="it failed" if span.error is None else None)


def one_more(spans: list[Span], span: Span) -> Changed:
    yield "it is there once more", [*spans, replace(span, id=_twin(span.id))]
    below = _below(spans, span)
    if len(below) > 1:
        twins = [
            replace(each, id=_twin(each.id), parent_id=each.parent_id if each is span else _twin(each.parent_id))
            for each in below
        ]
        yield "it is there once more, with all below it", [*spans, *twins]


def another_name(spans: list[Span], span: Span) -> Changed:
    yield "it has another name", _with(spans, span, name=f"{span.name} again")


def another_kind(spans: list[Span], span: Span) -> Changed:
    for kind in KINDS:
        if kind != span.kind:
            yield f"it is {kind}", _with(spans, span, kind=kind)


def another_service(spans: list[Span], span: Span) -> Changed:
    for service in ("gateway", "order", "payment", "inventory", "card-network"):
        if service != span.service:
            yield f"it is by {service}", _with(spans, span, service=service)


def another_attribute(spans: list[Span], span: Span) -> Changed:
    for key in KEYS:
        if (value := span.attributes.get(key)) is not None:
            other = f"Another{value}"
            yield f"{key} is {other}", _with(spans, span, attributes={**span.attributes, key: other})
            if key not in UNSAID:
                left = {name: told for name, told in span.attributes.items() if name != key}
                yield f"{key} is gone", _with(spans, span, attributes=left)
    for key, value in (("shop.refusal", "NO"), ("shop.saga.awaited", "false"), ("shop.event.order", "late")):
        if span.kind != "CLIENT" and span.attributes.get(key) != value:
            yield f"{key} is {value}", _with(spans, span, attributes={**span.attributes, key: value})


ONE_THING = (
    gone,
    another_parent,
    a_link_gone,
    another_link,
    another_status,
    one_more,
    another_name,
    another_kind,
    another_service,
    another_attribute,
)


# ---- what makes no other story ----


def other_times(traces: Traces) -> Traces:
    """Hours later, and a third slower."""
    begin = min(span.start for _, spans in traces for span in spans)

    def later(at: int) -> int:
        return begin + 3 * 3_600_000_000_000 + (at - begin) * 4 // 3

    return [
        (title, [replace(each, start=later(each.start), end=later(each.end)) for each in spans])
        for title, spans in traces
    ]


def other_ids(traces: Traces, seed: int = 7) -> Traces:
    """New ids for every trace and span; those of traces that are not shown too."""
    chance = random.Random(seed)  # noqa: S311 - a test's ids
    made: dict[str, str] = {}

    def new(old: str) -> str:
        return made.setdefault(old, f"{chance.getrandbits(4 * len(old)):0{len(old)}x}") if old else ""

    def renamed(span: Span) -> Span:
        links = tuple(Link(new(link.trace_id), new(link.span_id), link.attributes) for link in span.links)
        ids = {"id": new(span.id), "trace_id": new(span.trace_id), "parent_id": new(span.parent_id)}
        return replace(span, **ids, links=links)

    return [(title, list(map(renamed, spans))) for title, spans in traces]


def other_numbers(traces: Traces) -> Traces:
    """Other orders, tries, ages and places on Kafka, and a source that has grown."""

    def changed(span: Span) -> Span:
        others = {key: f"{value}7" for key, value in span.attributes.items() if key in BY_CHANCE}
        return replace(span, attributes={**span.attributes, **others, "code.line.number": "4711"})

    return [(title, list(map(changed, spans))) for title, spans in traces]


def told_twice(traces: Traces) -> Traces:
    """Every span came to the store twice."""
    return [(title, [*spans, *spans]) for title, spans in traces]


def batched(traces: Traces) -> Traces:
    """Each message was applied together with another order's: what both asked stands in the batch's own trace."""
    return [(title, _batched(spans)) for title, spans in traces]


def _batched(spans: list[Span]) -> list[Span]:
    promised = {"INSERT command_outbox", "UPDATE stock"}
    by_id = {span.id: span for span in spans}
    turn_of = {link.span_id: span for span in spans if span.name.startswith("saga heard ") for link in span.links}
    moved: dict[str, list[Span]] = {}
    for span in spans:
        parent = by_id.get(span.parent_id)
        for message in (each for each in spans if each.kind == "CONSUMER"):
            turn = turn_of.get(message.id, message)
            if (parent is message and span.name == "INSERT inbox") or (parent is turn and span.name in promised):
                moved.setdefault(message.id, []).append(span)
    left = [span for span in spans if not any(span in those for those in moved.values())]
    return [_of_a_batch(span, moved.get(span.id, [])) if span.kind == "CONSUMER" else span for span in left]


def _of_a_batch(span: Span, statements: Sequence[Span]) -> Span:
    names = [statement.name for statement in statements]
    links = tuple(
        Link(NOWHERE.trace_id, statement.id, {"db.query.summary": statement.name, "db.operation.batch.size": "2"})
        for statement in statements
    )
    told = {"shop.batch.messages": "2", "shop.batch.statements": ", ".join(names)}
    return replace(span, links=span.links + links, attributes={**span.attributes, **told})


NO_OTHER_STORY = (other_times, other_ids, other_numbers, told_twice, batched)


def _with(spans: list[Span], span: Span, **changed: object) -> list[Span]:
    return [replace(each, **changed) if each is span else each for each in spans]  # pyright: ignore[reportArgumentType]


def _below(spans: list[Span], span: Span) -> list[Span]:
    """A span and all below it."""
    return [span, *(found for each in spans if each.parent_id == span.id for found in _below(spans, each))]


def _twin(span_id: str) -> str:
    return f"{int(span_id, 16) ^ 0xFFFF:016x}"
