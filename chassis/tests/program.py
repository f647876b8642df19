"""A process with one loop, for the tests of a process' life: `MODE=… python -m chassis.tests.program`."""

import asyncio
import gc
import sys
import time
from typing import Literal

from chassis import logs, process, telemetry
from chassis.process import Process
from chassis.settings import ProcessSettings

log = logs.get(__name__)


class ProgramSettings(ProcessSettings):
    """What the loop does."""

    mode: Literal["works", "ends", "raises", "hangs", "blocks", "counts"]


async def main(settings: ProgramSettings, shared: Process) -> None:
    """Run the loop until the process is to stop."""

    async def loop() -> None:
        with telemetry.span("work"):
            log.info("working")
        match settings.mode:
            case "works":
                await shared.stopping.wait()
                # Whoever started this process says, by the end of its input, when the work in hand is done.
                await asyncio.to_thread(sys.stdin.read)
                with telemetry.span("the work in hand"):
                    log.info("finished")
            case "ends":
                return
            case "raises":
                raise LookupError("a bug")
            case "hangs":
                await asyncio.Event().wait()
            case "counts":
                log.info("frozen", objects=gc.get_freeze_count(), others=len(gc.get_objects()))
            case "blocks":
                time.sleep(3600)  # noqa: ASYNC251 - the mistake that readiness has to show

    await shared.supervise(loop=loop)


if __name__ == "__main__":
    process.run("program", ProgramSettings, main)
