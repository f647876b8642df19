"""Waiting keys: a key whose first message cannot be applied now waits with all that comes after; other keys go on.

    a message fails ─▶ its key waits ─▶ tried alone, few keys at a time ─┬─▶ done: the next message of the key
    later ones of the key queue up behind it                             └─▶ not yet: again after a pause

Nothing here knows Kafka or the database: `attempt` does. A key costs a queue and a timer, and no task: as many tasks as
may try at once take one key after the other, and where no key waits there is none.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from contextvars import Context
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

# How many keys are tried side by side: those whose turn it is for the first time, and those that have failed before, so
# that a thousand locked keys hold up none that is well. Each attempt may hold a connection of the pool.
FIRST_AT_ONCE = 2
AGAIN_AT_ONCE = 2
# What is under way when the keys are given up may end by itself for so long; then it is cancelled, and awaited so long.
GIVE_UP_SECONDS_MAX = 0.25
CANCEL_SECONDS_MAX = 1.0


@dataclass(slots=True, eq=False)
class WaitingKey(Generic[T]):
    """A key, the messages that wait under it, and what became of the first of them so far.

    Attributes:
        since: when the key began to wait, by the monotonic clock.
        tries: how often the first message was tried, alone.
        failures: how many of the tries failed by a fault of its own.
        reason: why it waits; empty before it was tried.
        is_in_doubt: whether the last try ended for want of time, and it is open who took it.
    """

    key: bytes
    since: float
    queue: deque[T] = field(default_factory=lambda: deque[T]())
    tries: int = 0
    failures: int = 0
    reason: str = ""
    is_in_doubt: bool = False
    timer: asyncio.TimerHandle | None = None

    def next(self) -> None:
        """The first message is done; the one behind it begins anew."""
        self.queue.popleft()
        self.tries = self.failures = 0
        self.reason, self.is_in_doubt = "", False


class WaitingKeys(Generic[T]):
    """Keys that wait, and the order of each.

    Args:
        attempt: tries the first message of a key, `queue[0]`. None means that it is done, one way or another; a number,
            that it is to be tried again after so many seconds. What it raises is a defect, and `check` raises it.
        done: is told each message that is done, unless its key was given up meanwhile.
    """

    def __init__(self, attempt: Callable[[WaitingKey[T]], Awaitable[float | None]], done: Callable[[T], None]) -> None:
        self._attempt, self._done = attempt, done
        self._keys: dict[bytes, WaitingKey[T]] = {}
        self._first = _Lane[T](FIRST_AT_ONCE, self._try)
        self._again = _Lane[T](AGAIN_AT_ONCE, self._try)

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def all(self) -> Collection[WaitingKey[T]]:
        """The keys that wait, the one that has waited longest first."""
        return self._keys.values()

    def wait(self, key: bytes, message: T) -> None:
        """Let a message wait: behind those of its key, or as the first, which is tried as soon as there is room."""
        waiting = self._keys.get(key)
        if waiting is None:
            waiting = self._keys[key] = WaitingKey[T](key, time.monotonic())
            self._first.put(waiting)
        waiting.queue.append(message)

    async def give_up(self) -> None:
        """Forget all of them: their messages come again, here or elsewhere. Bounded, whatever an attempt does."""
        given_up, self._keys = self._keys, {}
        for waiting in given_up.values():
            if waiting.timer:
                waiting.timer.cancel()
        await asyncio.gather(self._first.clear(), self._again.clear())

    def check(self) -> None:
        """Raise what an attempt has raised: a defect must end the process, not a task that nobody looks at."""
        for lane in (self._first, self._again):
            if lane.defect:
                raise lane.defect

    async def _try(self, waiting: WaitingKey[T]) -> None:
        pause = await self._attempt(waiting)
        if self._keys.get(waiting.key) is not waiting:
            # Given up meanwhile.
            return
        if pause is not None:
            waiting.timer = asyncio.get_running_loop().call_later(pause, self._again.put, waiting)
            return
        self._done(waiting.queue[0])
        waiting.next()
        if waiting.queue:
            self._first.put(waiting)
        else:
            del self._keys[waiting.key]


class _Lane(Generic[T]):
    """Tries one key after the other, so many at once, the first come first."""

    def __init__(self, at_once: int, work: Callable[[WaitingKey[T]], Awaitable[None]]) -> None:
        self._at_once, self._work = at_once, work
        self._queue: deque[WaitingKey[T]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self.defect: BaseException | None = None

    def put(self, waiting: WaitingKey[T]) -> None:
        self._queue.append(waiting)
        if len(self._tasks) < self._at_once:
            # In a context of its own: the caller's span is not the parent of what is tried later.
            task = asyncio.create_task(self._run(), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    async def _run(self) -> None:
        while self._queue:
            await self._work(self._queue.popleft())

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.defect = self.defect or error

    async def clear(self) -> None:
        self._queue.clear()
        under_way = set(self._tasks)
        if under_way:
            _, late = await asyncio.wait(under_way, timeout=GIVE_UP_SECONDS_MAX)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=CANCEL_SECONDS_MAX)
