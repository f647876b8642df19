"""Every kind of order and what its traces tell, as a test of any view of them needs it."""

from collections.abc import Iterator
from dataclasses import dataclass

from e2e.conftest import Shop, Span
from e2e.kinds import KINDS, Kind, Played, play_all
from e2e.tree import Tree


@dataclass(frozen=True)
class Told:
    """A played order and its traces: its own, and those of the requests that came later."""

    kind: Kind
    played: Played
    tree: Tree
    requests: tuple[Tree, ...]

    @property
    def trees(self) -> tuple[Tree, ...]:
        return (self.tree, *self.requests)

    @property
    def ours(self) -> list[Span]:
        """The spans of the shop: the card network is an outside party and knows no orders."""
        return [span for tree in self.trees for span in tree.spans if span.service != "card-network"]


class Stories(dict[str, Told]):
    """What was told, by the name of its kind."""

    def spans(self) -> Iterator[tuple[str, Tree, Span]]:
        for name, told in self.items():
            for tree in told.trees:
                for span in tree.spans:
                    yield name, tree, span


async def stories_of(shop: Shop) -> Stories:
    """Plays every kind once; returns when each has told everything."""
    played = await play_all(shop)
    return Stories({kind.name: await told(shop, kind, played[kind.name]) for kind in KINDS})


async def told(shop: Shop, kind: Kind, played: Played) -> Told:
    tree = Tree(played.trace_id, await shop.trace(played.trace_id, until=kind.is_told))
    requests = [Tree(id, await shop.trace(id, until=lambda spans: True)) for id in played.further_trace_ids]
    return Told(kind, played, tree, tuple(requests))
