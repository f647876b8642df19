"""What a member of a group still has to bury: each partition waits for its own dead letters, and no other does."""

import asyncio
import contextvars
from collections import deque
from collections.abc import Set

from aiokafka import TopicPartition

from chassis import kafka
from chassis.dead_letters import DeadLetters
from chassis.fetching import Taken, first_offset
from chassis.progress import Progress


class Burials:
    """Buries beside the handlers. Until Kafka has the letters of a partition, nothing more is to be fetched from it.

    What was fetched already goes on: a dead message holds up no other, of whatever key. Its offset is not committed.
    """

    def __init__(self, dead_letters: DeadLetters, progress: Progress, group: str) -> None:
        self._dead_letters, self._progress, self._group = dead_letters, progress, group
        self._waiting: dict[TopicPartition, deque[tuple[Taken, str]]] = {}
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}

    def begin(self, taken: Taken, reason: str) -> None:
        """Bury it, soon; its partition is not read on before that."""
        partition = TopicPartition(taken.topic, taken.partition)
        self._progress.wait(partition, first_offset(taken), 0)
        self._waiting.setdefault(partition, deque()).append((taken, reason))
        if partition not in self._tasks:
            # It outlives the batch, and belongs to no order's trace.
            task = asyncio.create_task(self._bury(partition), context=contextvars.Context())
            self._tasks[partition] = task

    @property
    def partitions(self) -> Set[TopicPartition]:
        """Those that wait."""
        return self._tasks.keys()

    def check(self) -> None:
        """Raises what a burial ended with, if that was a defect."""
        for task in self._tasks.values():
            if task.done() and not task.cancelled():
                task.result()

    async def finish(self, seconds_max: float) -> None:
        """Wait for those under way, but not for long, and give up the others: they come again."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=seconds_max)
        for task in self._tasks.values():
            task.cancel()

    def give_up(self) -> None:
        """Partitions move at once: what is not buried comes again, here or there."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self._waiting.clear()

    async def _bury(self, partition: TopicPartition) -> None:
        waiting = self._waiting[partition]
        while waiting:
            taken, reason = waiting[0]
            try:
                await self._dead_letters.bury(taken, self._group, reason)
            except kafka.Stopped:
                # It stays the oldest, and comes again after the next start.
                return
            waiting.popleft()
            self._progress.done(partition, first_offset(taken), 0)
        del self._waiting[partition], self._tasks[partition]
