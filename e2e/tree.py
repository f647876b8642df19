"""A trace as the tree that its reader sees: who stands below whom, and how deep."""

from collections import defaultdict
from collections.abc import Sequence

from e2e.conftest import Span

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
ERROR = 2


class Tree:
    """The spans of one trace."""

    def __init__(self, trace_id: str, spans: Sequence[Span]) -> None:
        self.trace_id = trace_id
        self.spans = sorted(spans, key=lambda span: span.start_ns)
        self.by_id = {span.span_id: span for span in spans}
        self._children: dict[str, list[Span]] = defaultdict(list)
        for span in self.spans:
            self._children[span.parent_id].append(span)

    @property
    def roots(self) -> list[Span]:
        """What has no parent; a story has one."""
        return self._children[""]

    @property
    def orphans(self) -> list[Span]:
        """What has a parent that is not there."""
        return [span for span in self.spans if span.parent_id and span.parent_id not in self.by_id]

    @property
    def order(self) -> Span:
        """The order's span: below it stands, in time, what its saga did."""
        [placed] = [span for span in self.named("shop.order.v1.OrderService/PlaceOrder") if span.kind == SERVER]
        return placed

    @property
    def saga(self) -> list[Span]:
        """What the saga did, in time."""
        return [span for span in self.spans if span.name.startswith("saga ")]

    def named(self, name: str) -> list[Span]:
        """The spans of this name, in time."""
        return [span for span in self.spans if span.name == name]

    def beginning(self, words: str) -> list[Span]:
        """The spans whose names begin like this, in time."""
        return [span for span in self.spans if span.name.startswith(words)]

    def parent(self, span: Span) -> Span | None:
        return self.by_id.get(span.parent_id)

    def children(self, span: Span) -> list[Span]:
        """What stands directly below a span, in time."""
        return self._children[span.span_id]

    def depth(self, span: Span) -> int:
        """1 for the root."""
        above = self.parent(span)
        return 1 if above is None else 1 + self.depth(above)

    def linked(self, span: Span) -> list[Span]:
        """The spans of this trace that a span links to."""
        return [self.by_id[span_id] for trace_id, span_id in span.links if trace_id == self.trace_id]

    def __str__(self) -> str:
        """The tree in lines, for the reader of a failure."""
        return "\n".join(line for root in [*self.roots, *self.orphans] for line in self._lines(root, 0))

    def _lines(self, span: Span, level: int) -> list[str]:
        mark = "  ERROR" if span.status == ERROR else ""
        below = [line for child in self.children(span) for line in self._lines(child, level + 1)]
        return [f"{'  ' * level}{span.service} {span.name}{mark}", *below]
