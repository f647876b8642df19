"""What a skeleton says of one span: who, what, and what tells its story; nothing that is different each time.

service KIND name  key=value …  sql=[…]  ERROR  remark  → what it links to
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from cli.play.skeleton_tree import Node
from infra.local.spans import Span

# What a line calls it, and the attribute. No times, ids, tries or places on Kafka: the number of lines says how often.
_TOLD = {
    "group": "messaging.consumer.group.name",
    "inbox": "shop.inbox.outcome",
    "sequence": "shop.event.order",
    "direction": "shop.saga.direction",
    "step_before": "shop.saga.step_before",
    "step": "shop.saga.step",
    "reason": "shop.saga.reason",
    "awaited": "shop.saga.awaited",
    "facts": "shop.saga.facts",
    "reservation": "shop.reservation.outcome",
    "payment": "shop.payment.outcome",
    "refusal": "shop.refusal",
    "grpc": "rpc.status_code",
    "http": "http.response.status_code",
    "error": "error.type",
}
# What goes without saying.
_UNSAID = {("inbox", "applied"), ("grpc", "OK")}
# How a try failed; of tries that repeat by chance it is chance too: nobody there, or somebody who does not answer.
_FAILURE = ("grpc", "http", "error")
# `Parked: RELEASING_STOCK`, `DeadlinePassed: … no answer within 15 s`: the fact without its details. A store that keeps
# lists as JSON quotes it.
_FACT = re.compile(r'(?:^|, |")([A-Z]\w+): ')


def line(node: Node, links: Sequence[str], repeats: Collection[str]) -> str:
    """The line of a span, without its place in the tree.

    Args:
        links: what it links to, by name, in their order.
        repeats: names of spans that repeat by chance.
    """
    span = node.span
    failed = span.error is not None
    told = dict(_attributes(span))
    if failed and span.name in repeats:
        told = {name: value for name, value in told.items() if name not in _FAILURE}
    parts = [
        f"{span.service} {span.kind} {span.name}",
        " ".join(f"{name}={value}" for name, value in told.items()),
        _sql(node.statements),
        "ERROR" if failed else "",
        node.remark,
        *(f"→ {link}" for link in links),
    ]
    return "  ".join(filter(None, parts))


def _attributes(span: Span) -> Iterator[tuple[str, str]]:
    for name, attribute in _TOLD.items():
        value = span.attributes.get(attribute)
        if value is None or (name, value) in _UNSAID or _is_said(span, name, value):
            continue
        if name == "facts":
            yield name, f"[{', '.join(_FACT.findall(value))}]"
        elif name == "error" and _is_unanswered(span):
            # Closed, reset or timed out: which of them the caller sees is chance.
            yield "http", "none"
        else:
            yield name, value


def _is_said(span: Span, name: str, value: str) -> bool:
    """Whether the line says it already: a command's step is its name, a status is its error."""
    statuses = (span.attributes.get(_TOLD["http"]), span.attributes.get(_TOLD["grpc"]))
    return (name == "step" and span.name == f"saga {value}") or (name == "error" and value in statuses)


def _is_unanswered(span: Span) -> bool:
    return (
        span.kind == "CLIENT"
        and "http.request.method" in span.attributes
        and _TOLD["http"] not in span.attributes
        and span.error is not None
    )


def _sql(statements: Counter[str]) -> str:
    """In the order of the alphabet: which of them a batch has shared, and so when they ran, is chance."""
    if not statements:
        return ""
    told = (f"{text} ×{number}" if number > 1 else text for text, number in sorted(statements.items()))
    return f"sql=[{', '.join(told)}]"
