"""How the command line asks Docker: by itself on this machine, or, inside the tools image, through `./shop` outside.

What has to stop, cut or look into containers is done on the host. The tools image has no Docker socket, which would be
root on the host: it writes each request into a folder that it shares with `./shop`, and that grants a few only.

SHOP_ASKS/N.run, N.keep or N.undo ─▶ ./shop ─▶ SHOP_ANSWERS/N.output, then N.code
"""

import asyncio
import os
import shlex
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Protocol

from cli.failures import NoSystem, ProgramFailed
from cli.systems.running import Program

ROOT = Path(__file__).resolve().parents[2]
# A service that is started again may take this long until it is healthy.
ANSWER_SECONDS_MAX = 90.0
POLL_SECONDS = 0.02

Command = Sequence[str]

# Its words are made by us; it does first what begins, says whether that went well, and waits until its input ends.
GUARDIAN = """
trap '' INT TERM HUP PIPE
run() { said=$("$@" 2>&1) || { printf '%s\\n' "$said" >&2; failed=1; }; }
failed=0
BEGIN
echo $failed
cat >/dev/null
END
exit $failed
"""


class Docker(Protocol):
    """`run("compose", "ps")` is `docker compose ps` in this checkout."""

    async def run(self, *arguments: str) -> str:
        """What it prints.

        Raises:
            ProgramFailed: it said an error.
            NoSystem: it cannot be asked.
        """
        ...

    def between(self, begin: Sequence[Command], end: Sequence[Command]) -> AbstractAsyncContextManager[None]:
        """The first commands have run when the block begins. The others run when it ends, and if we are killed too.

        Raises:
            NoSystem: one of them failed; the message is what it said. The others of its kind are run all the same.
        """
        ...


class HostDocker:
    """The docker of this machine."""

    async def run(self, *arguments: str) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                "docker", *arguments, cwd=ROOT, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
            )
        except FileNotFoundError:
            raise NoSystem("docker is not installed") from None
        try:
            output, errors = await process.communicate()
        finally:
            # Nobody waits for it any more.
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise ProgramFailed(f"docker {' '.join(arguments)}", _end_of(errors))
        return output.decode()

    @asynccontextmanager
    async def between(self, begin: Sequence[Command], end: Sequence[Command]) -> AsyncGenerator[None]:
        """A guardian of its own session runs both kinds, one after the other, whenever and however we end.

        It alone runs them: were the first one ours, a kill could leave it under way, to end after it was undone.
        """
        script = GUARDIAN.replace("BEGIN", _lines(begin)).replace("END", _lines(end))
        guardian = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", script, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
        assert guardian.stdout is not None  # noqa: S101 - it is a pipe, as told
        try:
            if (await guardian.stdout.readline()).strip() == b"0":
                yield
        finally:
            # It goes on, also if somebody does not want to wait for it.
            _, errors = await asyncio.shield(guardian.communicate(b""))
        if guardian.returncode != 0:
            raise NoSystem(f"docker: {_end_of(errors)}")


def _lines(commands: Sequence[Command]) -> str:
    return "\n".join(shlex.join(("run", "docker", *words)) for words in commands)


def _end_of(said: bytes) -> str:
    return said.decode(errors="replace").strip()[-1000:]


class AskedDocker:
    """`./shop` on the host, asked by files; this container can write into the one folder and read the other."""

    def __init__(self, asks: Path, answers: Path) -> None:
        self._asks, self._answers, self._numbers = asks, answers, count(1)

    async def run(self, *arguments: str) -> str:
        return await self._ask("run", [arguments])

    @asynccontextmanager
    async def between(self, begin: Sequence[Command], end: Sequence[Command]) -> AsyncGenerator[None]:
        # `./shop` keeps it, and runs it too if this container ends before it has asked for that.
        name = await self._ask("keep", end)
        try:
            for command in begin:
                await self.run(*command)
            yield
        finally:
            await self._ask("undo", [[name.strip()]])

    async def _ask(self, verb: str, commands: Sequence[Sequence[str]]) -> str:
        number = f"{os.getpid()}-{next(self._numbers)}"
        write_request(self._asks, f"{number}.{verb}", commands)
        code, output = self._answers / f"{number}.code", self._answers / f"{number}.output"
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                while not code.exists():  # noqa: ASYNC110 - a process outside writes it, no event tells
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise NoSystem(f"`./shop` has not answered for {ANSWER_SECONDS_MAX:.0f} s; does Docker answer?") from None
        if code.read_text().strip() != "0":
            raise ProgramFailed(f"docker {' '.join(commands[0])}", output.read_text().strip()[-1000:])
        return output.read_text()


def write_request(folder: Path, name: str, commands: Sequence[Sequence[str]]) -> None:
    """A word a line, as `printf %b` reads it, and an empty line between commands; it is whole once it is there."""
    lines = ("".join(f"{_escaped(word)}\n" for word in words) for words in commands)
    draft = folder / f"{name}.draft"
    draft.write_text("\n".join(lines))
    draft.rename(folder / name)


def _escaped(word: str) -> str:
    return word.replace("\\", r"\\").replace("\n", r"\n")


def docker() -> Docker:
    """Docker as it can be reached from here."""
    if folder := os.environ.get("SHOP_ASKS"):
        return AskedDocker(Path(folder), Path(os.environ["SHOP_ANSWERS"]))
    return HostDocker()


def replaced_by(program: Program) -> None:
    """Go on in this terminal as another program, with its exit code; it does not return, but in the tools image.

    There it returns at once: `./shop` runs the program when this container has ended.

    Raises:
        NoSystem: it is not installed.
    """
    if folder := os.environ.get("SHOP_ASKS"):
        write_request(Path(folder), "then", [program.arguments[1:]])
        return
    if program.arguments[0] == "docker":
        os.chdir(ROOT)
    sys.stdout.flush()
    # Python ignores it, and what is ignored stays so.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvpe(program.arguments[0], program.arguments, {**os.environ, **program.environment})  # noqa: S606 - no shell
    except FileNotFoundError:
        raise NoSystem(f"{program.arguments[0]} is not installed") from None
