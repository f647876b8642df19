"""The timelines of the orders that a scenario has placed, each followed as it grows."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from cli.failures import NoSystem, NotAsExpected
from cli.rpc import Rpc

# As long as the order service streams at most.
WATCH_SECONDS_MAX = 300.0
RETRY_SECONDS = 0.2
FINAL = ("CONFIRMED", "REJECTED", "CANCELLED")

Json = dict[str, Any]


class Watched:
    """One order's timeline so far.

    Args:
        show: is given each entry as it comes, and the moment of the first.
    """

    def __init__(self, order_id: str, rpc: Rpc, show: Callable[[Json, datetime], None] | None) -> None:
        self.order_id, self.entries = order_id, list[Json]()
        self._rpc, self._show = rpc, show
        self._grown = asyncio.Condition()
        self._task = asyncio.create_task(self._watch())

    @property
    def events(self) -> tuple[str, ...]:
        """The short names of what happened so far."""
        return tuple(short(entry["event"]) for entry in self.entries)

    async def until(self, is_there: Callable[["Watched"], bool], what: str, seconds: float) -> None:
        """Returns once the timeline is so.

        Raises:
            NotAsExpected: that takes longer, with the timeline as it is.
        """
        try:
            async with asyncio.timeout(seconds), self._grown:
                await self._grown.wait_for(lambda: is_there(self) or self._task.done())
        except TimeoutError:
            pass
        if self._task.done():
            # It only ends by a failure.
            self._task.result()
        if not is_there(self):
            happened = ", ".join(self.events) or "nothing"
            raise NotAsExpected(f"Order {self.order_id}: not within {seconds:g} s: {what}. Its timeline: {happened}.")

    def has_ended(self) -> bool:
        return any(entry.get("status") in FINAL for entry in self.entries)

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _watch(self) -> None:
        """Reads the stream, from where it was when the service goes away or ends it.

        It ends with a cancelled order, whose refund and return still come.
        """
        while True:
            with contextlib.suppress(NoSystem):
                request = {"orderId": self.order_id, "afterPosition": str(len(self.entries))}
                async for entry in self._rpc.stream("order/WatchOrder", request, WATCH_SECONDS_MAX):
                    await self._take(entry)
            await asyncio.sleep(RETRY_SECONDS)

    async def _take(self, entry: Json) -> None:
        async with self._grown:
            self.entries.append(entry)
            if self._show:
                self._show(entry, datetime.fromisoformat(self.entries[0]["time"]))
            self._grown.notify_all()


def short(event: str) -> str:
    """`shop.order.v1.OrderPlaced` is `OrderPlaced`."""
    return event.rpartition(".")[2]
