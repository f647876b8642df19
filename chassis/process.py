"""The life of a process: settings, telemetry, readiness, the loops it runs, and an orderly end.

SIGTERM ─▶ stopping ─▶ readiness fails, loops finish what is in hand (bounded) ─▶ telemetry is flushed ─▶ exit 0
"""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from opentelemetry.context import Context, attach
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from chassis import admin, errors, logs, providers
from chassis.settings import ProcessSettings

S = TypeVar("S", bound=BaseSettings)
P = TypeVar("P", bound=ProcessSettings)
Check = Callable[[], Awaitable[object]]
Loop = Callable[[], Awaitable[None]]

log = logs.get(__name__)

# What loops may take to end once they are cancelled. With the grace it is less than what compose.yaml waits before it
# kills a service.
CANCEL_SECONDS_MAX = 2.0
# Whoever asks for readiness is answered within two seconds, whatever hangs.
CHECK_SECONDS_MAX = 1.5


class ProcessFailed(Exception):
    """A loop of the process ended although nobody asked it to."""


class Process:
    """What the parts of one process share: the wish to stop, and whether it is ready."""

    def __init__(self, grace_seconds: float) -> None:
        self.stopping = asyncio.Event()
        self._grace_seconds = grace_seconds
        self._checks: dict[str, Check] = {}
        self._asked: dict[str, asyncio.Task[object]] = {}

    def ready_when(self, name: str, check: Check) -> None:
        """The process is ready only while `check()` does not raise."""
        self._checks[name] = check

    async def failing(self) -> dict[str, str]:
        """The checks that fail now, each with its reason; empty when the process is ready."""
        if self.stopping.is_set():
            return {"process": "stopping"}
        asked = {name: self._ask(name, check) for name, check in self._checks.items()}
        if asked:
            await asyncio.wait(asked.values(), timeout=CHECK_SECONDS_MAX)
        return {name: why for name, task in asked.items() if (why := _why_failed(task))}

    def _ask(self, name: str, check: Check) -> asyncio.Task[object]:
        """The check, under way; an earlier one that will not even be cancelled is not joined by others."""
        asked = self._asked.get(name)
        if asked is None or asked.done():
            asked = self._asked[name] = asyncio.create_task(_checked(check), name=f"check {name}")
        return asked

    def end(self) -> None:
        """Not ready from now on, and let go of the checks.

        The metrics hold this object until the interpreter ends; a gRPC server that is held as long makes it complain.
        """
        self.stopping.set()
        self._checks.clear()
        self._asked.clear()

    async def supervise(self, **loops: Loop) -> None:
        """Run the loops until the process is to stop; then wait for them, as long as the grace allows.

        One that is late is cancelled, and left behind if it does not end even so: nothing keeps the process from its
        end.

        Raises:
            ProcessFailed: a loop ended or raised before it was asked to stop. The others are stopped too.
            Misconfigured: as a loop has raised it.
        """
        tasks = [asyncio.create_task(_with_empty_context(loop), name=name) for name, loop in loops.items()]
        stop = asyncio.create_task(self.stopping.wait())
        done, _ = await asyncio.wait({*tasks, stop}, return_when=asyncio.FIRST_COMPLETED)
        # Loops that follow the wish at once are done in the same moment as `stop`.
        failed = None if self.stopping.is_set() else next(iter(done))
        self.stopping.set()
        _, late = await asyncio.wait(tasks, timeout=self._grace_seconds)
        for task in late:
            log.warning("cancelled after the grace period", loop=task.get_name())
            task.cancel()
        _, left_behind = await asyncio.wait(tasks, timeout=CANCEL_SECONDS_MAX)
        for task in left_behind:
            log.error("left behind: it does not end although cancelled", loop=task.get_name())
        raised = [(task, task.exception()) for task in tasks if task.done() and not task.cancelled()]
        for task, error in raised:
            if isinstance(error, errors.Misconfigured):
                raise error
            if error is not None:
                raise ProcessFailed(f"{task.get_name()} failed") from error
        if failed is not None:
            raise ProcessFailed(f"{failed.get_name()} ended early")


async def _checked(check: Check) -> object:
    return await check()


def _why_failed(check: asyncio.Task[object]) -> str:
    """Why it failed, or empty; one that is not done is cancelled, and not waited for."""
    if not check.done():
        check.cancel()
        # What it ends with is nobody's any more.
        check.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    if not check.done() or check.cancelled():
        return f"no answer within {CHECK_SECONDS_MAX:g} s"
    error = check.exception()
    return f"{type(error).__name__}: {error}"[:200] if error else ""


async def _with_empty_context(loop: Loop) -> None:
    # A task inherits the context it is created in; a loop that lives on must not stamp one trace on all its later work.
    attach(Context())
    await loop()


def read(process_name: str, settings_type: type[S]) -> S:
    """The settings of a process from its environment; exits 2, with one line for each that is missing or wrong."""
    try:
        return settings_type()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"{process_name}: setting {name}: {problem['msg']}", file=sys.stderr)  # noqa: T201 - logs need settings
        raise SystemExit(2) from None


def run(service_name: str, settings_type: type[P], main: Callable[[P, Process], Awaitable[None]]) -> None:
    """Run one process from its environment to its exit code; call it under `if __name__ == "__main__"`.

    Exits 2 when a setting is missing, wrong or of no use (one line for each on stderr), 1 when the process fails.
    """
    settings = read(service_name, settings_type)
    logs.configure(service_name, settings)
    flush = providers.configure(service_name, settings)
    # What is here now stays until the end: the garbage collector would look through all of it again and again.
    gc.collect()
    gc.freeze()
    try:
        asyncio.run(_main(settings, main))
    except errors.Misconfigured as error:
        print(f"{service_name}: {error}", file=sys.stderr)  # noqa: T201 - like any other word about a setting
        raise SystemExit(2) from None
    except Exception:
        log.exception("the process failed")
        raise SystemExit(1) from None
    finally:
        flush()


async def _main(settings: P, main: Callable[[P, Process], Awaitable[None]]) -> None:
    process = Process(settings.shutdown_grace_seconds)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stopping.set)
    with contextlib.closing(admin.serve(settings.host, settings.admin_port, loop, process.failing)):
        try:
            await main(settings, process)
        finally:
            process.end()
