"""What a drawing says of a span on demand, below its line: what it links to, its attributes, its events."""

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from infra.local.spans import Attributes, Link, Span

KINDS = ("links", "attributes", "events")

# Of each kind for one span, and in each line: a round of the relay may link to hundreds of orders.
DETAILS_MAX = 50
_CHARACTERS_MAX = 300
_NS_PER_MS = 1_000_000


class Detail(NamedTuple):
    """A line below a span, and where it leads, if it does."""

    text: str
    leads_to: Link | None = None


def details(span: Span, kinds: Collection[str], named: Mapping[tuple[str, str], str]) -> tuple[Detail, ...]:
    """Those kinds of details, in the order of KINDS.

    Args:
        named: what a link's target is called, by trace and span id, as far as that is known.
    """
    found = {
        "links": (_links(span, named), len(span.links)),
        "attributes": (_attributes(span), len(span.attributes)),
        "events": (_events(span), len(span.events)),
    }
    return tuple(detail for kind in KINDS if kind in kinds for detail in _bounded(kind, *found[kind]))


def _links(span: Span, named: Mapping[tuple[str, str], str]) -> Iterator[Detail]:
    for link in span.links:
        name = named.get((link.trace_id, link.span_id), f"span {link.span_id}, which is not here")
        yield Detail(f"link to {name}{_listed(link.attributes)}", link)


def _attributes(span: Span) -> Iterator[Detail]:
    """Ours first: they are what the others are read for."""
    for key, value in sorted(span.attributes.items(), key=lambda item: (not item[0].startswith("shop."), item)):
        yield Detail(f"{key} = {value}")


def _events(span: Span) -> Iterator[Detail]:
    for event in span.events:
        after_ms = (event.at - span.start) / _NS_PER_MS
        yield Detail(f"event {event.name} after {after_ms:.1f} ms{_listed(event.attributes)}")


def _listed(attributes: Attributes) -> str:
    return "".join(f", {key} = {value}" for key, value in attributes.items())


def _bounded(kind: str, found: Iterator[Detail], number: int) -> Iterator[Detail]:
    for detail in islice(found, DETAILS_MAX):
        is_long = len(detail.text) > _CHARACTERS_MAX
        yield detail._replace(text=f"{detail.text[:_CHARACTERS_MAX]}…") if is_long else detail
    if number > DETAILS_MAX:
        yield Detail(f"and {number - DETAILS_MAX} more {kind}")
