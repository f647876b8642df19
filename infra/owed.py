"""What an order that was cancelled is owed: what was done for it and is not undone yet, by the entries of its timeline.

A pending order is cancelled once its work is undone, a confirmed one at once: refund and return follow.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from catalogue import UNDONE_BY


def owed(timeline: Iterable[Mapping[str, Any]]) -> list[str]:
    """The short names of the events that none of those which undo them has followed."""
    events = {entry["event"].rpartition(".")[2] for entry in timeline}
    return [done for done, undone_by in UNDONE_BY.items() if done in events and not events & {*undone_by}]
