"""The commands of the embedded runner: in this terminal, and in the background."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from infra.local.parts import ROOT
from infra.local.ports import Ports
from infra.local.run_folder import AlreadyRuns, RunFolder
from infra.local.supervisor import SystemFailed
from infra.local.system import System

_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1

Use = Callable[[System], Awaitable[None]]


async def run(console: Console, folder: RunFolder, ports: Ports, use: Use) -> None:
    """Starts the system, uses it and ends it; raises SystemFailed if it cannot go on before `use` has returned."""
    _cancel_when_interrupted()
    begin = time.monotonic()

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    with folder.claimed(), console.status("Starting") as status:
        system = System(ports=ports, folder=folder.path, say=say)
        async with system:
            status.stop()
            say(f"Everything is ready after {time.monotonic() - begin:.1f} s; the logs are in {folder.path / 'logs'}")
            say(_addresses(system.state()))
            try:
                # Who waits for the state reads what was said until then.
                with system.told(folder.write_state):
                    await _until_used(system, use)
            finally:
                console.print("Stopping")


async def until_cancelled(_: System) -> None:
    await asyncio.Event().wait()


def _cancel_when_interrupted() -> None:
    """Each time: the second one ends the patience with what is stopping then, and the guardian ends it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        # SIGINT too: asyncio would raise the second one wherever its loop is just then, and so lose a wake-up for ever.
        for interrupt in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(interrupt, task.cancel)


async def _until_used(system: System, use: Use) -> None:
    using = asyncio.ensure_future(use(system))
    failing = asyncio.ensure_future(system.failed())
    try:
        await asyncio.wait((using, failing), return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            raise SystemFailed(failing.result())
        using.result()
    finally:
        using.cancel()
        failing.cancel()


def start(console: Console, folder: RunFolder, options: Sequence[str]) -> None:
    """Leaves the system running in the background once all of it is ready; an interrupt until then ends it too."""
    if folder.runner() is not None:
        raise AlreadyRuns(f"the system runs already, as process {folder.runner()}")
    folder.forget_state()
    with folder.log_path.open("wb") as log, console.status("Starting") as status:
        runner = subprocess.Popen(  # noqa: S603 - this very program
            (sys.executable, "-m", "infra.local", "run", *options),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # The terminal's signals and its end are not for it.
            start_new_session=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            while folder.read_state() is None and runner.poll() is None:
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            status.update("Stopping")
            runner.terminate()
            runner.wait()
            console.print("Stopped before it was ready.")
            raise
    console.print(folder.log_path.read_text().rstrip(), highlight=False, soft_wrap=True)
    if runner.poll() is not None:
        raise SystemFailed(f"the system did not start; all that was said is in {folder.log_path}")


async def stop(console: Console, folder: RunFolder) -> None:
    """Ends the system that runs in the folder, in the background or in another terminal."""
    pid = folder.runner()
    if pid is None:
        console.print("Nothing runs.")
        return
    os.kill(pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await folder.until_released()
    except TimeoutError:
        # Its guardian ends what it leaves.
        os.kill(pid, signal.SIGKILL)
        await folder.until_released()
    console.print("Stopped.")


def _addresses(state: dict[str, Any]) -> str:
    gateway = state["gateway_url"]
    return f"Orders {gateway}/   API {gateway}/docs   traces {state['traces_url']}/   Kafka {state['kafka']}"


def status(console: Console, folder: RunFolder) -> bool:
    """Whether the system runs and all of it is ready."""
    pid, state = folder.runner(), folder.read_state()
    if pid is None:
        console.print("Nothing runs.")
        return False
    if state is None:
        console.print(f"Process {pid} is starting the system.")
        return False
    # No table: where the terminal is narrow, that would break addresses in two.
    console.print(f"{'part':<12}  {'process':<7}  {'state':<9}  address", style="bold")
    for part in state["parts"]:
        is_well = part["is_ready"] and not part["broken"]
        ready = Text("ready    ", "green") if is_well else Text(f"{part['broken'] or 'not ready':<9}", "bold red")
        line = Text.assemble(f"{part['name']:<12}  {part['pid']:<7}  ", ready, f"  {part['address']}")
        console.print(line, highlight=False, soft_wrap=True)
    console.print(_addresses(state), highlight=False, soft_wrap=True)
    return all(part["is_ready"] and not part["broken"] for part in state["parts"])
