"""Starts the system's parts, restarts what dies, gives up on what is hopeless, and ends all in reverse order."""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from infra.local.guardian import Guardian
from infra.local.part import Part, RunningPart

_DEATHS_MAX = 5
_DEATHS_WINDOW_SECONDS = 60.0
_READY_SECONDS = 60.0
_STOP_SECONDS = 15.0


def _tell_nobody() -> None:
    pass


class SystemFailed(Exception):
    """The system cannot go on; the message is for the person who started it."""


class Supervisor:
    """`start` parts stage by stage, `stop` in the end, always; `failure` is set when a part cannot be kept alive.

    Args:
        say: is told, in lines for a person, what became ready and what died.
        changed: is called whenever a part became ready or is not ready any more.
    """

    def __init__(
        self,
        log_folder: Path,
        guardian: Guardian,
        *,
        say: Callable[[str], None],
        changed: Callable[[], None] = _tell_nobody,
        deaths_max: int = _DEATHS_MAX,
        deaths_window_seconds: float = _DEATHS_WINDOW_SECONDS,
        ready_seconds: float = _READY_SECONDS,
        stop_seconds: float = _STOP_SECONDS,
    ) -> None:
        self.failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._begin = time.monotonic()
        self._log_folder = log_folder
        self._guardian = guardian
        self._say, self._changed = say, changed
        self._deaths_max = deaths_max
        self._deaths_window_seconds = deaths_window_seconds
        self._ready_seconds = ready_seconds
        self._stop_seconds = stop_seconds
        self._stages: list[list[RunningPart]] = []
        self._parts: dict[str, RunningPart] = {}
        self._keepers: list[asyncio.Task[None]] = []

    def __getitem__(self, name: str) -> RunningPart:
        return self._parts[name]

    @property
    def parts(self) -> list[RunningPart]:
        return list(self._parts.values())

    async def start(self, *parts: Part) -> None:
        """Starts a stage: the parts at the same time. Returns when all are ready; raises SystemFailed if one is not."""
        stage: list[RunningPart] = []
        self._stages.append(stage)
        await together(*(self._start_one(part, stage) for part in parts))

    async def stop(self) -> None:
        """Leaves no process behind, the guardian included, even if it is interrupted."""
        try:
            await self._stop_parts()
        except BaseException:
            # Whoever interrupts does not want to wait for what still lives, and nothing else would end it.
            await self._guardian.end_children()
            raise
        await self._guardian.dismiss()

    async def _stop_parts(self) -> None:
        # What ends first needs what ends last, which must not stand still then.
        for running in self.parts:
            running.thaw()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for stage in reversed(self._stages):
            await asyncio.gather(*(running.stop(self._stop_seconds) for running in stage))

    async def kill(self, name: str) -> None:
        """Returns when the process is dead. The part is restarted, and this death is not held against it."""
        running = self._parts[name]
        process = running.process
        # At once, so that whoever waits for it to be ready from now on waits for the next process.
        self._is_not_ready(running)
        running.is_killed = True
        running.send_signal(signal.SIGKILL)
        await process.wait()

    async def hold(self, name: str) -> None:
        """Ends a part as the system's end does; returns when it is dead. It stays so until `release`.

        This death is not held against it.
        """
        running = self._parts[name]
        running.may_run.clear()
        running.is_killed = True
        self._is_not_ready(running)
        await running.stop(self._stop_seconds)

    def freeze(self, name: str) -> None:
        """The part stands still until `release`; should it end meanwhile, it is not restarted before."""
        running = self._parts[name]
        running.may_run.clear()
        running.freeze()
        self._note_frozen()

    async def release(self, name: str) -> None:
        """The part may run again; returns when it is ready."""
        running = self._parts[name]
        running.thaw()
        self._note_frozen()
        running.may_run.set()
        await self.ready(name)

    async def ready(self, name: str) -> None:
        """Returns when the part is ready, again if it is not now."""
        await self._parts[name].is_ready.wait()

    async def _start_one(self, part: Part, stage: list[RunningPart]) -> None:
        running = await RunningPart.start(part, self._log_folder, self._guardian.group)
        stage.append(running)
        self._parts[part.name] = running
        if not await self._becomes_ready(running):
            end = self._said_of(running)
            raise SystemFailed(f"{part.name} {end} while it started; its log ends with{running.last_words()}")
        self._say(f"{time.monotonic() - self._begin:5.1f} s  {part.name:<12}  ready  {part.address}")
        keeper = asyncio.create_task(self._keep(running))
        keeper.add_done_callback(self._note_end)
        self._keepers.append(keeper)

    async def _becomes_ready(self, running: RunningPart) -> bool:
        """False when its process ends before it is ready, or takes too long; raises SystemFailed with the system."""
        ready = asyncio.ensure_future(running.part.until_ready(running.process))
        dead = asyncio.ensure_future(running.process.wait())
        try:
            await asyncio.wait(
                (ready, dead, self.failure), timeout=self._ready_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if self.failure.done():
                raise SystemFailed(self.failure.result())
            if ready.done() and not dead.done():
                ready.result()
                running.is_ready.set()
                self._changed()
        finally:
            ready.cancel()
            dead.cancel()
        return running.is_ready.is_set()

    async def _keep(self, running: RunningPart) -> None:
        part = running.part
        deaths: deque[float] = deque(maxlen=self._deaths_max)
        vain_restarts = 0
        while True:
            end = _said(await running.process.wait())
            self._is_not_ready(running)
            is_held = not running.may_run.is_set()
            if not running.is_killed and not is_held:
                deaths.append(time.monotonic())
            running.is_killed = False
            if part.fatal:
                raise SystemFailed(f"{part.name} {end}: {part.fatal}{running.last_words()}")
            if is_held:
                await running.may_run.wait()
            elif len(deaths) == self._deaths_max and deaths[-1] - deaths[0] < self._deaths_window_seconds:
                raise SystemFailed(f"{part.name} keeps dying, at last it {end}{running.last_words()}")
            else:
                self._say(f"{part.name} {end}; restarting it (log: {running.log_path})")
            await running.restart()
            if await self._becomes_ready(running):
                self._say(f"{part.name} is ready again")
                vain_restarts = 0
            elif not running.is_killed:
                # Counted by themselves: they take so long that the deaths in between are too rare for the window.
                vain_restarts += 1
                if vain_restarts == self._deaths_max:
                    end = f"at last it {self._said_of(running)}{running.last_words()}"
                    raise SystemFailed(f"{part.name} never became ready in {vain_restarts} restarts, {end}")
                running.send_signal(signal.SIGKILL)

    def _is_not_ready(self, running: RunningPart) -> None:
        running.is_ready.clear()
        self._changed()

    def _note_frozen(self) -> None:
        self._guardian.note_frozen(pid for running in self.parts for pid in running.frozen)

    def _said_of(self, running: RunningPart) -> str:
        """Of a part that did not become ready."""
        code = running.process.returncode
        return f"was not ready within {self._ready_seconds:.0f} s" if code is None else _said(code)

    def _note_end(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and not self.failure.done():
            self.failure.set_result(str(keeper.exception()))


async def together(*steps: Coroutine[Any, Any, None]) -> None:
    """Runs the steps at the same time; the first that fails ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _said(exit_code: int) -> str:
    if exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"
