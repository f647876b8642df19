"""`./shop` as a test runs it: a process of its own, in a file or in a terminal of some width."""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import sys
import termios
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 90.0


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    errors: str

    @property
    def json(self) -> Any:
        """Its only document."""
        assert self.out, f"it said nothing, and ended with {self.code}: {self.errors}"
        return json.loads(self.out)

    @property
    def objects(self) -> list[Any]:
        """What it said, an object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Commands:
    """`./shop …` with this environment beside ours, such as SHOP_FOLDER."""

    def __init__(self, **environment: str) -> None:
        import_path = os.pathsep.join((str(ROOT), str(ROOT / "protos" / "generated")))
        self.environment: Mapping[str, str] = {**os.environ, "PYTHONPATH": import_path, **environment}

    async def start(self, *arguments: str, terminal: int | None = None, stdin: int = DEVNULL) -> Process:
        """As from a terminal: what a shell starts in the background ignores SIGINT, and so does whatever it starts."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "cli", *arguments),
                cwd=ROOT,
                env=self.environment,
                stdin=stdin if terminal is None else terminal,
                stdout=PIPE if terminal is None else terminal,
                stderr=PIPE if terminal is None else terminal,
            )
        finally:
            signal.signal(signal.SIGINT, before)

    async def run(self, *arguments: str) -> Ended:
        """Returns when it has ended."""
        return await ended(await self.start(*arguments))

    async def given(self, text: str, *arguments: str) -> Ended:
        """With this on its standard input."""
        process = await self.start(*arguments, stdin=PIPE)
        assert process.stdin is not None
        process.stdin.write(text.encode())
        process.stdin.close()
        return await ended(process)

    def beside(self, **environment: str) -> "Commands":
        """The same, with more in its environment."""
        return Commands(**{**self.environment, **environment})

    async def in_terminal(self, columns: int, *arguments: str, typed: str = "") -> tuple[int, str]:
        """The exit code, and all that a terminal of this width was given, in which somebody types this."""
        ours, its = pty.openpty()
        try:
            fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            process = await self.start(*arguments, terminal=its)
            os.close(its)
            os.write(ours, typed.encode())
            # A terminal has room for little: what is not read holds the command up.
            reading = asyncio.create_task(asyncio.to_thread(_all_of, ours))
            async with asyncio.timeout(SECONDS_MAX):
                code = await process.wait()
                return code, (await reading).decode()
        finally:
            os.close(ours)


def _all_of(terminal: int) -> bytes:
    """Until nobody writes to it any more, which Linux calls an input/output error."""
    found = b""
    with contextlib.suppress(OSError):
        while read := os.read(terminal, 2**16):
            found += read
    return found


async def ended(process: Process) -> Ended:
    """What a started command said from now on, and how it ended."""
    async with asyncio.timeout(SECONDS_MAX):
        out, errors = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), errors.decode())


async def line(process: Process) -> Any:
    """The next object that a command with --json says."""
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS_MAX):
        said = await process.stdout.readline()
    assert said, (await ended(process)).errors
    return json.loads(said)


async def left(process: Process) -> tuple[int, str]:
    """The exit code of a command whose reader leaves, as `| head -1` does, and what it said beside its answer."""
    assert process.stdout is not None
    assert process.stderr is not None
    reader: Any = process.stdout
    # There is no other way to close what asyncio reads.
    reader._transport.close()
    async with asyncio.timeout(10):
        said = await process.stderr.read()
        return await process.wait(), said.decode()
