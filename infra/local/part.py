"""One part of the system: how it is started, and the process that runs it."""

import asyncio
import contextlib
import json
import os
import pwd
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import psutil

_LAST_LINES = 20

Process = asyncio.subprocess.Process


@dataclass(frozen=True, kw_only=True)
class Part:
    name: str
    command: tuple[str, ...]
    # Awaited with each new process; returns when it is ready, and never if it ends before.
    until_ready: Callable[[Process], Awaitable[None]]
    # Shown to the person.
    address: str = ""
    # Where it takes RPCs, as host:port, if it does.
    grpc: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    # The system user that runs it, where that is not the one who runs the runner.
    user: str | None = None
    working_folder: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    # Whether the runner talks to it over its standard input and output, which otherwise are nothing and the log.
    talks: bool = False
    # Why the system cannot go on without it; such a part is not restarted.
    fatal: str = ""


class Ownership(TypedDict):
    user: str | None
    group: int | None
    extra_groups: list[str] | None


def ownership(user: str | None) -> Ownership:
    """The arguments that make a subprocess run as `user`, or as the one who starts it."""
    if user is None:
        return {"user": None, "group": None, "extra_groups": None}
    # By its number: the group of `nobody` has another name on every other system.
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def send_signal(process: Process, number: signal.Signals) -> None:
    """To a process that may have ended meanwhile, which is no error: whoever waits for it will hear."""
    # Not the process's own method, which looks whether it has ended and so takes its exit code from who waits for it.
    if process.returncode is None:
        _signal(process.pid, number)


async def ask(process: Process, command: str) -> dict[str, Any]:
    """Says a line to a part that talks, and gives its answer."""
    if process.stdin is None:
        raise ValueError("this part does not talk")
    process.stdin.write(f"{command}\n".encode())
    return await answer_of(process)


async def answer_of(process: Process) -> dict[str, Any]:
    """The next line that the part says, a JSON object; never returns if the part ends instead."""
    if process.stdout is None:
        raise ValueError("this part does not talk")
    line = await process.stdout.readline()
    if not line:
        await asyncio.Event().wait()
    return json.loads(line)


class RunningPart:
    """A part and its current process, in the process group of the guardian; the log goes on over restarts."""

    def __init__(self, part: Part, process: Process, log_path: Path, group: int) -> None:
        self.part = part
        self.process = process
        self.log_path = log_path
        self.is_ready = asyncio.Event()
        # Cleared while somebody has broken it: what ends meanwhile is not started again.
        self.may_run = asyncio.Event()
        self.may_run.set()
        # Whether the runner itself wanted its death.
        self.is_killed = False
        # The processes that stand still, by their ids.
        self.frozen: tuple[int, ...] = ()
        self._group = group

    @classmethod
    async def start(cls, part: Part, log_folder: Path, group: int) -> "RunningPart":
        log_path = log_folder / f"{part.name}.log"
        log_path.write_bytes(b"")
        return cls(part, await _spawn(part, log_path, group), log_path, group)

    async def restart(self) -> None:
        self.process = await _spawn(self.part, self.log_path, self._group)

    def send_signal(self, number: signal.Signals) -> None:
        send_signal(self.process, number)

    def freeze(self) -> None:
        """Its process stands still, and so do the children that it has: a database works in children."""
        # Before its children, so that it makes no more of them.
        self.send_signal(signal.SIGSTOP)
        self.frozen = (self.process.pid, *_children(self.process.pid))
        for pid in self.frozen[1:]:
            _signal(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self.frozen:
            _signal(pid, signal.SIGCONT)
        self.frozen = ()

    async def stop(self, patience_seconds: float) -> None:
        self.send_signal(self.part.stop_signal)
        # A process that stands still would not hear it, whoever has made it so.
        self.send_signal(signal.SIGCONT)
        self.thaw()
        try:
            async with asyncio.timeout(patience_seconds):
                await self.process.wait()
        except TimeoutError:
            self.send_signal(signal.SIGKILL)
            await self.process.wait()

    def last_words(self) -> str:
        """The end of its log, each line below the one before and prefixed with its name."""
        lines = self.log_path.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return "".join(f"\n  {self.part.name} | {line}" for line in lines)


def _children(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(pid: int, number: signal.Signals) -> None:
    """To a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def _spawn(part: Part, log_path: Path, group: int) -> Process:
    with log_path.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *part.command,
            stdin=asyncio.subprocess.PIPE if part.talks else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if part.talks else log,
            stderr=log,
            env=dict(part.environment),
            cwd=part.working_folder,
            process_group=group,
            **ownership(part.user),
        )
