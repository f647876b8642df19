"""Follows an order's timeline as it grows, over the ends of streams and the restarts of a service."""

import time
from asyncio import sleep
from typing import Any

from cli.failures import NoSystem
from cli.session import Session
from infra.local.drawing import began, timeline_line

# As long as the order service streams at most.
WATCH_SECONDS_MAX = 300.0
# How long the service may be away.
AWAY_SECONDS_MAX = 120.0
RETRY_SECONDS = 0.5
FINAL = ("REJECTED", "CANCELLED")
ENDS = ("OrderConfirmed", "OrderRejected", "OrderCancelled")

Json = dict[str, Any]


async def watch(session: Session, order_id: str, *, until_decided: bool = False) -> None:
    """Show each entry as it comes, until the order can change no more, or, if that is enough, until it is decided.

    Raises:
        Unknown: there is no such order.
        NoSystem: the order service stays away.
    """
    rpc, out = await session.rpc(), session.out
    entries: list[Json] = []
    away_since: float | None = None
    # The service ends the stream too when it is to stop, and after a while.
    while not (entries and entries[-1]["status"] in FINAL):
        request = {"orderId": order_id, "afterPosition": str(len(entries))}
        try:
            async for entry in rpc.stream("order/WatchOrder", request, WATCH_SECONDS_MAX):
                away_since = None
                entries.append(entry)
                line = timeline_line(entry, began(entries))
                out.line(entry, lambda console, line=line: console.print(line, highlight=False))
                if until_decided and entry["event"].endswith(ENDS):
                    return
        except NoSystem:
            now = time.monotonic()
            if not entries or (away_since is not None and now - away_since > AWAY_SECONDS_MAX):
                raise
            if away_since is None:
                away_since = now
                out.remark("The order service does not answer; waiting for it.", "yellow")
            await sleep(RETRY_SECONDS)
