"""A table of due work: claim rows, work them side by side up to a bound, wake on commit, poll rarely.

wake-up, poll interval or a finished row ─▶ one statement: settle what is finished, claim what is due ─▶ work
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from chassis import kafka, logs
from chassis.database import Row, outages

log = logs.get(__name__)

Claim = Callable[[int, Sequence[Any]], Awaitable[Sequence[Row]]]
Work = Callable[[Row], Awaitable[Any]]


class WorkQueue:
    """Runs `work(row)` for each row that `claim` hands out.

    Args:
        claim: `claim(room, settled)` settles what `work` returned for earlier rows, claims at most `room` due rows for
            longer than `work` may take, and returns them. It may be called with no room, only to settle.
        work: returns what the next `claim` is to settle, or None when nothing is left to settle.
        concurrency_max: how many rows are worked side by side.
        poll_interval_seconds: how often to look without having been woken.
    """

    def __init__(
        self,
        name: str,
        claim: Claim,
        work: Work,
        *,
        stopping: asyncio.Event,
        concurrency_max: int = 32,
        poll_interval_seconds: float = 2.0,
    ) -> None:
        self._name, self._claim, self._work, self._stopping = name, claim, work, stopping
        self._concurrency_max, self._poll_interval_seconds = concurrency_max, poll_interval_seconds
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._settled: list[Any] = []
        # Whether the last claim was handed as many rows as it had room for, or had none, so that more may be due.
        self._full = False

    def wake(self, _key: str = "") -> None:
        """Look at once."""
        self._wake.set()

    def wake_in(self, seconds: float) -> None:
        """Look when so much time has passed."""
        asyncio.get_running_loop().call_later(seconds, self._wake.set)

    async def run(self) -> None:
        """Work until the process is to stop, then finish what is in hand."""
        stop = asyncio.create_task(self._stopping.wait())
        stop.add_done_callback(lambda _task: self._wake.set())
        try:
            while not self._stopping.is_set():
                if not await self._turn():
                    await kafka.wait(self._wake, self._poll_interval_seconds)
                self._wake.clear()
            if self._running:
                await asyncio.wait(self._running)
            if self._settled:
                # What cannot be settled now is handed out again when its claim has run out.
                with outages("work stays unsettled", queue=self._name):
                    await self._claim(0, self._take_settled())
        finally:
            stop.cancel()

    def _take_settled(self) -> list[Any]:
        settled, self._settled = self._settled, []
        return settled

    async def _turn(self) -> bool:
        """Settle and claim once; whether another turn should follow at once."""
        room = self._concurrency_max - len(self._running)
        settled = self._take_settled()
        if not room and not settled:
            self._full = True
            return False
        rows: Sequence[Row] = ()
        with outages("work waits", queue=self._name) as outage:
            rows = await self._claim(room, settled)
        if outage.happened:
            self._settled = [*settled, *self._settled]
            return False
        for row in rows:
            # Each row has a trace of its own; the loop's is not its parent.
            task = asyncio.create_task(self._one(row), name=f"{self._name} worker")
            self._running.add(task)
            task.add_done_callback(self._finished)
        self._full = len(rows) == room
        return (self._full and room > 0) or bool(self._settled)

    async def _one(self, row: Row) -> None:
        settled = await self._work(row)
        if settled is not None:
            self._settled.append(settled)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # The claim runs out and the row is handed out again.
            log.error("work failed; it will be tried again", queue=self._name, exc_info=error)
        if self._settled or self._full:
            self._wake.set()
