"""The read side: what happened to an order, as one query, and as a stream while it happens."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.message import Message
from shop.order.v1.order_pb2 import Order, TimelineEntry

from chassis import kafka, telemetry
from chassis.database import Database, Sql, Transaction
from chassis.errors import NotFound
from services.order.model import timeline_message

CHANNEL = "order_timeline"
# Another replica's writes wake nobody here.
POLL_SECONDS = 1.0

_READ = Sql(
    "SELECT order_timeline",
    "SELECT * FROM order_timeline WHERE order_id = :order_id AND position > :after_position ORDER BY position",
)
_HEARD = Sql(
    "SELECT order_timeline",
    "SELECT 1 FROM order_timeline WHERE order_id = :order_id AND event = ANY(CAST(:events AS text[])) LIMIT 1",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A fact to be noted; `event` is the message's full name, a moment of None is now."""

    event: str
    service: str
    happened_at: datetime | None
    status: str
    trace_id: str
    span_id: str
    detail: str = ""

    @classmethod
    def here(cls, event: str, service: str, happened_at: datetime | None, status: str, detail: str = "") -> "Entry":
        """An entry for the span that is current."""
        return cls(event, service, happened_at, status, telemetry.trace_id(), telemetry.span_id(), detail)


async def get_order_timeline(transaction: Transaction, order_id: str, after_position: int = 0) -> list[TimelineEntry]:
    """The entries behind a position, oldest first.

    Raises:
        NotFound: no such order; a stored order has at least one entry.
    """
    rows = await transaction.all(_READ, order_id=order_id, after_position=after_position)
    if not rows and after_position == 0:
        raise NotFound(f"order {order_id} does not exist")
    return [timeline_message(row) for row in rows]


async def has(transaction: Transaction, order_id: str, events: Iterable[type[Message]]) -> bool:
    """Whether any of the events stands on the order's timeline."""
    names = [event.DESCRIPTOR.full_name for event in events]
    return await transaction.first(_HEARD, order_id=order_id, events=names) is not None


class Closing(Exception):
    """The process is to stop; the watcher should come back with the position it has."""


class Watchers:
    """Everybody who watches an order on this replica."""

    def __init__(self, database: Database, stopping: asyncio.Event, seconds_max: float) -> None:
        self._database, self._stopping, self._seconds_max = database, stopping, seconds_max
        self._waiting: dict[str, set[asyncio.Event]] = {}
        database.on_commit(CHANNEL, self._changed)

    def _changed(self, order_id: str) -> None:
        for changed in self._waiting.get(order_id, ()):
            changed.set()

    async def stopped(self) -> None:
        """Wake every watcher when the process is to stop, so that none holds it up."""
        await self._stopping.wait()
        for order_id in list(self._waiting):
            self._changed(order_id)

    async def watch(self, order_id: str, after_position: int) -> AsyncIterator[TimelineEntry]:
        """The entries behind a position, and each new one, until the order can change no more or time is up.

        Raises:
            NotFound: no such order.
            Closing: the process is to stop.
        """
        ends_at = time.monotonic() + self._seconds_max
        changed = asyncio.Event()
        self._waiting.setdefault(order_id, set()).add(changed)
        try:
            # From the beginning, also for who resumes: only what is behind them tells that nothing more can come.
            read, final = 0, False
            while not final and time.monotonic() < ends_at:
                changed.clear()
                async with self._database.single() as once:
                    entries = await get_order_timeline(once, order_id, after_position=read)
                for entry in entries:
                    if entry.position > after_position:
                        yield entry
                    read, final = entry.position, is_final(entry)
                if self._stopping.is_set():
                    raise Closing
                if not final:
                    await kafka.wait(changed, min(POLL_SECONDS, max(0.0, ends_at - time.monotonic())))
        finally:
            self._waiting[order_id].discard(changed)
            if not self._waiting[order_id]:
                del self._waiting[order_id]


def is_final(entry: TimelineEntry) -> bool:
    """Whether the order's status can change no more."""
    return entry.status in (Order.REJECTED, Order.CANCELLED)
