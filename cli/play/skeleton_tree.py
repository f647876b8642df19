"""The spans of a trace as the tree that a skeleton writes: hung, statements folded into who asked, siblings in order.

spans in any order ─▶ hang ─▶ fold the statements, those of a batch too ─▶ order: by time, or by text where it is chance
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from infra.local.spans import Link, Span

# The statement that a batch shares for each message itself; what else it shares, a handler has promised.
_NOTED = "INSERT inbox"
_SUMMARY = "db.query.summary"
_HEARD = "saga heard "

MISSING, CIRCLE, ANY_ORDER = "its parent is missing", "it is below itself", "in any order"


@dataclass(slots=True, eq=False)
class Node:
    """A span, and what is below it.

    statements: what it asked the database, and how often.
    remark: what is to be said about its place.
    """

    span: Span
    children: list["Node"] = field(default_factory=list["Node"])
    statements: Counter[str] = field(default_factory=Counter[str])
    remark: str = ""


def grown(spans: Iterable[Span]) -> list[Node]:
    """The tops of the trace's tree, siblings in time; every span is in it once, whatever its parent is."""
    # What a store was sent twice, because it did not say in time that it had it, is one span.
    nodes = {span.id: Node(span) for span in sorted(spans, key=lambda span: (span.start, -span.end, span.name))}
    tops: list[Node] = []
    for node in nodes.values():
        if (parent := nodes.get(node.span.parent_id)) is not None:
            parent.children.append(node)
        else:
            node.remark = MISSING if node.span.parent_id else ""
            tops.append(node)
    _cut_circles(nodes, tops)
    for node in list(walk(tops)):
        _fold(node)
    _share(nodes.values())
    return tops


def walk(tops: Iterable[Node]) -> Iterator[Node]:
    """Every node, from the top; not by recursion, for a trace may be any depth."""
    waiting = list(tops)[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.children[::-1]


def put_in_order(tops: list[Node], any_order: Collection[str], text: Callable[[Node], str]) -> None:
    """Siblings as a skeleton has them.

    In time, those of their parent's service first: what two services do is ordered by nothing. What is known to come in
    any order comes last, and says so.

    Args:
        any_order: names of spans.
        text: what a node and all below it reads like, once what is below it is in order.
    """
    # From the leaves up: the text of a node is that of its children too.
    for node in reversed(list(walk(tops))):
        _order(node.children, node.span.service, any_order, text)
    _order(tops, "", any_order, text)


def shared(span: Span) -> list[tuple[Link, str]]:
    """The links to statements in a batch's own trace, and what they are: by chance a message has company."""
    # Jaeger keeps a list as JSON in Badger, and of a link only where it leads: then their order tells which is which.
    named: list[str] = re.findall(r"\w[\w ]*", span.attributes.get("shop.batch.statements", ""))
    elsewhere = (link for link in span.links if link.trace_id != span.trace_id)
    return [(link, link.attributes.get(_SUMMARY, name)) for link, name in zip(elsewhere, named, strict=False)]


def has_effect(node: Node) -> bool:
    """Whether an event came of it: that has happened as often as it is there, and not by chance."""
    return any(below.span.kind == "PRODUCER" for below in walk([node]))


def _cut_circles(nodes: Mapping[str, Node], tops: list[Node]) -> None:
    reached = {id(node) for node in walk(tops)}
    for node in nodes.values():
        if id(node) not in reached:
            nodes[node.span.parent_id].children.remove(node)
            node.remark = CIRCLE
            tops.append(node)
            reached.update(id(below) for below in walk([node]))


def _fold(node: Node) -> None:
    """Statements become a part of the line of who asked; one that is unlike a statement stays a line."""
    kept: list[Node] = []
    for child in node.children:
        if _is_statement(child, node.span.service):
            span = child.span
            failed = f" ERROR {span.attributes.get('error.type', '')}".rstrip() if span.error is not None else ""
            node.statements[span.name + failed] += 1
        else:
            kept.append(child)
    node.children = kept


def _is_statement(node: Node, service: str) -> bool:
    span = node.span
    return (
        (span.kind, span.service, span.attributes.get(_SUMMARY)) == ("CLIENT", service, span.name)
        and not node.children
        and not span.links
    )


def _share(nodes: Iterable[Node]) -> None:
    """Give a batch's statements to who would have asked alone, so that both read alike.

    What a handler promises is written just before the commit: of one message below the span that promised it, of
    several in the batch's trace, and then the `process` spans name it. In a saga it is the turn that promises.
    """
    found = list(nodes)
    turns = {link.span_id: node for node in found if node.span.name.startswith(_HEARD) for link in node.span.links}
    for node in found:
        for _, statement in shared(node.span):
            owner = node if statement == _NOTED else turns.get(node.span.id, node)
            owner.statements[statement] += 1


def _order(siblings: list[Node], service: str, any_order: Collection[str], text: Callable[[Node], str]) -> None:
    anywhere = sorted((node for node in siblings if node.span.name in any_order), key=text)
    timed = [node for node in siblings if node.span.name not in any_order]
    if service:
        timed.sort(key=lambda node: (node.span.service != service, node.span.service))
    for node in anywhere:
        node.remark = node.remark or ANY_ORDER
    siblings[:] = timed + anywhere
