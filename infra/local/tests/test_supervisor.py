"""The supervisor keeps parts alive, gives up on hopeless ones, and leaves no process behind."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from infra.local.guardian import Guardian
from infra.local.part import Part, Process, RunningPart
from infra.local.supervisor import Supervisor, SystemFailed

SLEEP = "import time; print('begun', flush=True); time.sleep(600)"
SLEEP_DEAF_TO_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"

# Has a child of its own session, which ends when it finds that its parent has.
CHILD = (
    "import os, time; parent = os.getppid(); print('begun', flush=True)\nwhile os.getppid() == parent: time.sleep(.01)"
)
PARENT = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {CHILD!r}], start_new_session=True).wait()"
)


async def at_once(_: Process) -> None:
    pass


async def never(_: Process) -> None:
    await asyncio.Event().wait()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the conditions come true in other processes
            await asyncio.sleep(0.01)


def says_begun(log: Path) -> Callable[[Process], Awaitable[None]]:
    async def until_ready(_: Process) -> None:
        await until(lambda: "begun" in log.read_text())

    return until_ready


def part(
    name: str,
    code: str = SLEEP,
    *,
    until_ready: Callable[[Process], Awaitable[None]] = at_once,
    fatal: str = "",
    environment: dict[str, str] | None = None,
) -> Part:
    command = (sys.executable, "-S", "-c", code)
    return Part(name=name, command=command, until_ready=until_ready, fatal=fatal, environment=environment or {})


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Said(list[str]):
    """What the supervisor told the person, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.append(line)
        self._changed.set()

    async def until(self, words: str, *, times: int = 1) -> None:
        async with asyncio.timeout(10):
            while sum(words in line for line in self) < times:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def said() -> Said:
    return Said()


@pytest.fixture
async def supervisor(tmp_path: Path, said: Said) -> AsyncIterator[Supervisor]:
    guardian = await Guardian.start()
    supervisor = Supervisor(tmp_path / "logs", guardian, say=said, deaths_max=3, ready_seconds=2.0, stop_seconds=0.5)
    (tmp_path / "logs").mkdir()
    yield supervisor
    await supervisor.stop()
    assert not any(is_alive(running.process.pid) for running in supervisor.parts)


async def test_a_part_that_dies_is_restarted_and_it_is_said(supervisor: Supervisor, said: Said) -> None:
    await supervisor.start(part("order"))
    first = supervisor["order"].process.pid
    await supervisor.kill("order")
    assert not is_alive(first)
    await said.until("order is ready again")
    assert said[1].startswith("order was killed by SIGKILL; restarting it")
    assert supervisor["order"].process.pid != first
    assert not supervisor.failure.done()


async def test_the_log_of_a_part_goes_on_over_its_restarts(supervisor: Supervisor, said: Said, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "order.log"
    await supervisor.start(part("order", until_ready=says_begun(log)))
    await supervisor.kill("order")
    await said.until("order is ready again")
    await until(lambda: log.read_text() == "begun\nbegun\n")


async def test_a_part_that_keeps_dying_ends_the_system_with_its_last_words(supervisor: Supervisor) -> None:
    """After three deaths within the window the supervisor gives up, and quotes the log."""
    await supervisor.start(part("order", "import sys; sys.exit('no database')"))
    async with asyncio.timeout(10):
        reason = await supervisor.failure
    assert reason.startswith("order keeps dying, at last it ended with exit code 1")
    assert "  order | no database" in reason


async def test_a_restarted_part_that_is_never_ready_again_ends_the_system(tmp_path: Path, said: Said) -> None:
    """With as much time to become ready as the window of deaths is long, which is how the runner has it."""
    guardian = await Guardian.start()
    supervisor = Supervisor(
        tmp_path, guardian, say=said, deaths_max=3, deaths_window_seconds=0.2, ready_seconds=0.2, stop_seconds=0.5
    )
    is_first = True

    async def once(_: Process) -> None:
        nonlocal is_first
        if not is_first:
            await asyncio.Event().wait()
        is_first = False

    try:
        await supervisor.start(part("order", until_ready=once))
        supervisor["order"].send_signal(signal.SIGKILL)
        async with asyncio.timeout(10):
            reason = await supervisor.failure
    finally:
        await supervisor.stop()
    assert reason.startswith("order never became ready in 3 restarts, at last it was not ready within ")


async def test_killing_a_part_again_and_again_is_not_held_against_it(supervisor: Supervisor, said: Said) -> None:
    """Only deaths that nobody asked for end the system."""
    await supervisor.start(part("order"))
    for times in range(1, 6):
        await supervisor.kill("order")
        await said.until("order is ready again", times=times)
    assert not supervisor.failure.done()


async def test_a_held_part_runs_again_when_it_is_released_and_not_before(supervisor: Supervisor, said: Said) -> None:
    """However often: a death that was asked for is not held against it, and is no restart to be told of."""
    await supervisor.start(part("order"))
    for _ in range(5):
        before = supervisor["order"].process
        await supervisor.hold("order")
        assert before.returncode == -signal.SIGTERM
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(supervisor.ready("order"), 0.1)
        async with asyncio.timeout(10):
            await supervisor.release("order")
        assert is_alive(supervisor["order"].process.pid)
    assert not supervisor.failure.done()
    assert not any("restarting" in line for line in said)


async def test_a_frozen_part_that_is_killed_is_not_restarted_before_it_is_released(supervisor: Supervisor) -> None:
    """Who froze it may count on nothing happening."""
    await supervisor.start(part("order"))
    supervisor.freeze("order")
    await supervisor.kill("order")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(supervisor.ready("order"), 0.1)
    async with asyncio.timeout(10):
        await supervisor.release("order")
    assert is_alive(supervisor["order"].process.pid)


async def test_every_change_is_told(tmp_path: Path, said: Said) -> None:
    """Who keeps a picture of the parts has a true one."""
    guardian = await Guardian.start()
    pictures: list[list[bool]] = []

    def take() -> None:
        pictures.append([running.is_ready.is_set() for running in supervisor.parts])

    supervisor = Supervisor(tmp_path, guardian, say=said, changed=take)
    try:
        await supervisor.start(part("order"))
        await supervisor.kill("order")
        await said.until("order is ready again")
        assert (pictures[0], pictures[1], pictures[-1]) == ([True], [False], [True])
    finally:
        await supervisor.stop()


async def test_the_death_of_a_part_that_all_depend_on_ends_the_system(supervisor: Supervisor) -> None:
    await supervisor.start(part("broker", fatal="its messages are gone"))
    await supervisor.kill("broker")
    async with asyncio.timeout(10):
        assert (await supervisor.failure).startswith("broker was killed by SIGKILL: its messages are gone")


async def test_a_part_that_ends_while_it_starts_is_an_error_with_its_last_words(supervisor: Supervisor) -> None:
    with pytest.raises(
        SystemFailed, match=r"(?s)order ended with exit code 1 while it started; .*  order \| DATABASE_URL is missing"
    ):
        await supervisor.start(
            part("inventory"),
            part("order", "import sys; sys.exit('DATABASE_URL is missing')", until_ready=never),
        )


async def test_a_part_that_is_never_ready_is_an_error(supervisor: Supervisor) -> None:
    with pytest.raises(SystemFailed, match="order was not ready within 2 s"):
        await supervisor.start(part("order", until_ready=never))


async def test_a_start_does_not_wait_for_a_system_that_failed_meanwhile(supervisor: Supervisor) -> None:
    """The reason is what failed, not what was still starting."""
    await supervisor.start(part("order", "import sys; sys.exit('no database')"))
    with pytest.raises(SystemFailed, match="order keeps dying"):
        await supervisor.start(part("gateway", until_ready=never))


async def test_parts_end_in_reverse_order(supervisor: Supervisor, tmp_path: Path) -> None:
    """What was started last, and may use all others, ends first."""
    code = (
        "import signal, sys, os; signal.signal(signal.SIGTERM, lambda *_: (print(os.environ['NAME'], file=open("
        "os.environ['ENDS'], 'a')), sys.exit())); print('begun', flush=True); signal.pause()"
    )
    for name in ("postgres", "order", "gateway"):
        await supervisor.start(
            part(
                name,
                code,
                until_ready=says_begun(tmp_path / "logs" / f"{name}.log"),
                environment={"NAME": name, "ENDS": str(tmp_path / "ends")},
            )
        )
    await supervisor.stop()
    assert (tmp_path / "ends").read_text().split() == ["gateway", "order", "postgres"]


async def test_a_part_deaf_to_sigterm_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    ready = says_begun(tmp_path / "logs" / "order.log")
    await supervisor.start(part("order", SLEEP_DEAF_TO_SIGTERM, until_ready=ready))
    await supervisor.stop()
    assert supervisor["order"].process.returncode == -signal.SIGKILL


async def test_a_paused_part_ends_like_any_other(supervisor: Supervisor, tmp_path: Path) -> None:
    await supervisor.start(part("order", until_ready=says_begun(tmp_path / "logs" / "order.log")))
    supervisor["order"].send_signal(signal.SIGSTOP)
    await supervisor.stop()
    assert supervisor["order"].process.returncode == -signal.SIGTERM


class Runner:
    """A process that runs a polite part and one deaf to SIGTERM, and stops them when it is interrupted."""

    def __init__(self, process: Process, pids: list[int], leftover: Path) -> None:
        self.process = process
        self._pids = pids
        self._leftover = leftover

    @classmethod
    async def start(cls, folder: Path, *, freezes: bool = False) -> "Runner":
        leftover = folder / "leftover"
        leftover.mkdir()
        arguments = (str(folder), str(leftover), *(["freeze"] if freezes else []))
        process = await asyncio.create_subprocess_exec(
            # In a session of its own, so that its children have lost theirs, for the kernel, when it is gone.
            *(sys.executable, "-c", _RUNNER, *arguments),
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        runner = cls(process, json.loads(await _line(process)), leftover)
        assert all(is_alive(pid) for pid in runner._pids)
        return runner

    @property
    def guardian(self) -> int:
        return self._pids[0]

    async def is_stopping(self) -> None:
        assert await _line(self.process) == b"stopping\n"

    async def leaves_nothing(self) -> None:
        async with asyncio.timeout(10):
            # To the end of what it prints, which comes when no process is left that could print there.
            await self.process.communicate()
        await until(lambda: not any(is_alive(pid) for pid in self._pids))
        assert not self._leftover.exists()


async def _line(process: Process) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(10):
        return await process.stdout.readline()


async def test_nothing_is_left_when_the_runner_is_killed(tmp_path: Path) -> None:
    """SIGKILL gives the runner no chance; the guardian ends the children, deaf ones too, and removes the leftovers."""
    runner = await Runner.start(tmp_path)
    runner.process.kill()
    await runner.leaves_nothing()


async def test_nothing_that_stands_still_is_left_when_the_runner_is_killed(tmp_path: Path) -> None:
    """A database's children are no members of the group, and end by themselves when it has ended: once they wake."""
    runner = await Runner.start(tmp_path, freezes=True)
    runner.process.kill()
    await runner.leaves_nothing()


async def test_nothing_is_left_when_the_kernel_hangs_the_guardian_up(tmp_path: Path) -> None:
    """So it does with a group that has lost its runner while one of its processes stands still."""
    runner = await Runner.start(tmp_path)
    os.kill(runner.guardian, signal.SIGSTOP)
    runner.process.kill()
    await runner.leaves_nothing()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE])
async def test_nothing_is_left_whatever_signal_the_guardian_gets_first(tmp_path: Path, number: signal.Signals) -> None:
    """What a terminal or a reader that left sends to all that came of a command is no end of its work."""
    runner = await Runner.start(tmp_path)
    os.kill(runner.guardian, number)
    runner.process.kill()
    await runner.leaves_nothing()


async def test_nothing_is_left_when_a_stop_is_interrupted(tmp_path: Path) -> None:
    """The person's patience ends before that with the deaf part; the guardian ends what the runner has not."""
    runner = await Runner.start(tmp_path)
    runner.process.terminate()
    await runner.is_stopping()
    runner.process.terminate()
    await runner.leaves_nothing()


async def test_the_guardian_ends_the_children_even_if_nobody_waits_for_it(tmp_path: Path) -> None:
    """A third interrupt ends the wait, not the work."""
    guardian = await Guardian.start()
    child = await RunningPart.start(part("order"), tmp_path, guardian.group)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(guardian.end_children(), 0.1)
    async with asyncio.timeout(10):
        assert await child.process.wait() == -signal.SIGTERM
        await guardian.end_children()


_RUNNER = f"""
import asyncio, json, signal, sys
from pathlib import Path
from infra.local.guardian import Guardian
from infra.local.supervisor import Supervisor
from infra.local.tests.test_supervisor import part, says_begun

async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    folder, leftover = map(Path, sys.argv[1:3])
    guardian = await Guardian.start(leftover)
    supervisor = Supervisor(folder, guardian, say=lambda line: None)
    await supervisor.start(
        part("polite", {SLEEP!r}, until_ready=says_begun(folder / "polite.log")),
        part("deaf", {SLEEP_DEAF_TO_SIGTERM!r}, until_ready=says_begun(folder / "deaf.log")),
    )
    pids = [guardian.group, *(running.process.pid for running in supervisor.parts)]
    if sys.argv[3:]:
        await supervisor.start(part("parent", {PARENT!r}, until_ready=says_begun(folder / "parent.log")))
        supervisor.freeze("parent")
        pids += supervisor["parent"].frozen
        assert len(supervisor["parent"].frozen) == 2
    print(json.dumps(pids), flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("stopping", flush=True)
        await supervisor.stop()

asyncio.run(main())
"""
