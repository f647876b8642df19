"""What is done between a beginning and an end is undone, in that order, whatever becomes of the one who began it."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.failures import NoSystem
from cli.systems.docker import HostDocker
from cli.tests.commands import ROOT

SECONDS = 20
# Stands in for the command, so that what it does takes as long as a test wants: it notes its words when it has done.
DOCKER = """#!/bin/sh
cd "{folder}" || exit 1
echo "begins $*" >>log
while [ "$1" = slow ] && [ ! -e go ]; do sleep 0.01; done
[ "$1" != bad ] || {{ echo "no such container: $2" >&2; exit 1; }}
echo "$*" >>log
"""
BEGINS = """
import asyncio, signal, sys
from cli.systems.docker import HostDocker

async def main():
    async with HostDocker().between([sys.argv[1:]], [("start", "order")]):
        print("broken", flush=True)
        await asyncio.Event().wait()

# What `nohup` starts ignores it, and so does whatever that starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
asyncio.run(main())
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What was done, by commands of an engine that is none."""
    program = tmp_path / "docker"
    program.write_text(DOCKER.format(folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def read() -> list[str]:
        path = tmp_path / "log"
        return path.read_text().splitlines() if path.exists() else []

    return read


async def begun(*command: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", BEGINS, *command, cwd=ROOT, stdout=PIPE)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - another process writes the file
            await asyncio.sleep(0.01)


async def test_the_end_comes_after_the_block(log: Callable[[], list[str]]) -> None:
    """And the beginning before it."""
    async with HostDocker().between([("stop", "it's order"), ("stop", "payment")], [("start", "order")]):
        assert [line for line in log() if not line.startswith("begins")] == ["stop it's order", "stop payment"]
    assert log()[-1] == "start order"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
async def test_the_end_comes_too_when_the_process_is_killed(
    log: Callable[[], list[str]], number: signal.Signals
) -> None:
    """The guardian outlives it."""
    process = await begun("stop", "order")
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS):
        assert await process.stdout.readline() == b"broken\n"
    process.send_signal(number)
    await asyncio.wait_for(process.communicate(), SECONDS)
    await until(lambda: log()[-1:] == ["start order"])


async def test_what_is_under_way_ends_before_it_is_undone(log: Callable[[], list[str]], tmp_path: Path) -> None:
    """A stop takes seconds, and may be killed in between; a start before its end would be undone by it."""
    process = await begun("slow", "stop")
    await until(lambda: log() == ["begins slow stop"])
    process.kill()
    await asyncio.wait_for(process.communicate(), SECONDS)
    (tmp_path / "go").touch()
    await until(lambda: log()[-1:] == ["start order"])
    assert log() == ["begins slow stop", "slow stop", "begins start order", "start order"]


async def test_a_beginning_that_fails_is_said_and_undone(log: Callable[[], list[str]]) -> None:
    """Some of it may have been done: the block is not entered."""
    with pytest.raises(NoSystem, match="no such container: nobody"):
        async with HostDocker().between([("bad", "nobody")], [("start", "order")]):
            pytest.fail("it was entered")
    assert log()[-1] == "start order"


async def test_an_end_that_fails_is_said(log: Callable[[], list[str]]) -> None:
    """What comes behind it is done all the same."""
    with pytest.raises(NoSystem, match="no such container: gone"):
        async with HostDocker().between([("stop", "gone")], [("bad", "gone"), ("start", "order")]):
            pass
    assert log()[-1] == "start order"
