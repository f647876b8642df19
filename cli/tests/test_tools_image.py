"""`./shop` with Docker alone: in the tools image, which has no Docker itself, and with what the script does for it."""

import asyncio
import json
import os
import pty
import shutil
import signal
import struct
import termios
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from fcntl import ioctl
from pathlib import Path

import pytest
import pytest_asyncio

from cli.tests.commands import ROOT, Ended, ended, line
from infra.containers.system import System, command

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.docker]

SECONDS = 60
NOT_CLONED = (".venv", ".git", ".run", ".env", "node_modules", "__pycache__", "tests", ".*_cache", ".hypothesis")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    async with System(settings={"RESERVE_DEADLINE_SECONDS": "7"}) as system:
        yield system


class Clone:
    """A clone in which nothing is installed, for a system that runs."""

    def __init__(self, folder: Path, system: System) -> None:
        self.folder, self._environment = folder, {**os.environ, **system.environment}

    async def start(self, *arguments: str, terminal: int | None = None) -> Process:
        """In a process group of its own, as a shell starts it."""
        # And what `nohup` starts ignores SIGHUP.
        before = {each: signal.signal(each, signal.default_int_handler) for each in (signal.SIGINT, signal.SIGHUP)}
        try:
            return await asyncio.create_subprocess_exec(
                *("./shop", *arguments),
                cwd=self.folder,
                env=self._environment,
                stdin=DEVNULL if terminal is None else terminal,
                stdout=PIPE if terminal is None else terminal,
                stderr=PIPE if terminal is None else terminal,
                start_new_session=True,
            )
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    async def run(self, *arguments: str) -> Ended:
        return await ended(await self.start(*arguments))

    def runs(self) -> list[Path]:
        """The folders of the runs that have not been tidied up."""
        return list((self.folder / ".run" / "tools").glob("run-*"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clone(system: System, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Its image is built: what the first command of all says about that is not part of its answer."""
    folder: Path = tmp_path_factory.mktemp("clones") / "shop"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_CLONED))
    clone = Clone(folder, system)
    first = await clone.run("--help")
    assert (first.code, "Building the image shop/tools" in first.errors) == (0, True), first.errors
    return clone


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - other processes change it
            await asyncio.sleep(0.05)


async def state(system: System, name: str) -> str:
    [container] = await system.ids(name)
    return (await command("docker", "inspect", "--format", "{{.State.Status}}", container)).strip()


async def heals(system: System, name: str) -> None:
    async with asyncio.timeout(SECONDS):
        while await state(system, name) != "running":  # noqa: ASYNC110 - the engine changes it
            await asyncio.sleep(0.1)


async def tools(system: System) -> list[str]:
    """The containers of the tools image that there are."""
    project, part = (f"label=com.docker.compose.{label}" for label in (f"project={system.project}", "service=tools"))
    return (await command("docker", "ps", "--all", "--quiet", "--filter", project, "--filter", part)).split()


async def test_a_question_about_the_tables_is_answered(clone: Clone) -> None:
    """On standard output the answer and nothing else; SQL arrives as it was written."""
    answer = await clone.run("psql", "order", "--json", "-c", "SELECT 'a\n\\b' AS text,\n  1 AS one")
    assert (answer.code, answer.json, answer.errors) == (0, [{"text": "a\n\\b", "one": 1}], "")
    assert (await clone.run("outbox")).code == 0


async def test_a_failure_has_its_exit_code_and_its_words(clone: Clone) -> None:
    """As from .venv."""
    denied = await clone.run("psql", "payment", "-c", "SELECT * FROM payments")
    assert (denied.code, denied.out) == (1, "")
    assert "Hidden: card_token." in denied.errors
    assert (await clone.run("psql", "billing")).code == 5
    assert (await clone.run("nonsense")).code == 2


async def test_nothing_is_left_of_a_run(clone: Clone, system: System) -> None:
    """No container, no folder."""
    await clone.run("--help")
    assert (clone.runs(), await tools(system)) == ([], [])


async def test_without_a_system_it_says_so(clone: Clone) -> None:
    """Another project is another system."""
    another = System()
    answer = await Clone(clone.folder, another).run("psql", "order", "-c", "SELECT 1")
    # What compose made for the container stays, as it does after `docker compose run`.
    await command("docker", "network", "rm", *(f"{another.project}_{name}" for name in ("default", "outside")))
    assert answer.code == 4
    assert "docker compose up --detach --wait" in answer.errors


async def test_the_image_is_built_again_when_a_file_of_it_is_newer(clone: Clone) -> None:
    """After a pull the command line is the one of the checkout."""
    assert (await clone.run("--help")).errors == ""
    (clone.folder / "cli" / "failures.py").touch()
    assert "Building the image shop/tools" in (await clone.run("--help")).errors
    assert (await clone.run("--help")).errors == ""


async def test_the_image_may_do_little(clone: Clone, system: System) -> None:
    """An ordinary user, a file system that is read only, no capability, no socket of the engine, nothing published."""
    breaking = await clone.start("break", "inventory", "--how", "freeze", "--json")
    await line(breaking)
    [container] = await tools(system)
    inspected = json.loads(await command("docker", "inspect", container))[0]
    os.killpg(breaking.pid, signal.SIGINT)
    await ended(breaking)
    host = inspected["HostConfig"]
    assert inspected["Config"]["User"] == "shop"
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["CapAdd"], host["Privileged"]) == (True, ["ALL"], None, False)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert not host["PortBindings"]
    mounts = {mount["Destination"]: mount["RW"] for mount in inspected["Mounts"]}
    assert mounts == {"/shop/asks": True, "/shop/answers": False, "/shop/folder": True}


@pytest.mark.parametrize("how", ["--for", "interrupt", "kill", "hang up", "remove"])
async def test_what_it_broke_heals_however_it_ends(clone: Clone, system: System, how: str) -> None:
    """By itself, by Ctrl-C, by a kill of the script, with the terminal, or by a kill of its container."""
    more = ("--for", "1") if how == "--for" else ()
    breaking = await clone.start("break", "inventory", "--how", "freeze", "--json", *more)
    assert (await line(breaking))["state"] == "broken"
    if not more:
        assert await state(system, "inventory") == "paused"
    match how:
        case "interrupt":
            os.killpg(breaking.pid, signal.SIGINT)
        case "kill":
            breaking.kill()
        case "hang up":
            os.killpg(breaking.pid, signal.SIGHUP)
        case "remove":
            await command("docker", "kill", *await tools(system))
        case _:
            pass
    end = await ended(breaking)
    await heals(system, "inventory")
    await until(lambda: clone.runs() == [])
    assert await tools(system) == []
    if more:
        assert (end.code, json.loads(end.out)["state"]) == (0, "running")


async def test_a_terminal_gets_psql_itself(clone: Clone) -> None:
    """Which the script opens, once the container has given the terminal back; its exit code is the command's."""
    ours, its = pty.openpty()
    ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    process = await clone.start("psql", "payment", terminal=its)
    os.close(its)
    said = await said_until(ours, "payment=>")
    os.write(ours, b"SELECT 6 * 7 AS answer;\n")
    said += await said_until(ours, "(1 row)")
    os.write(ours, b"\\q\n")
    async with asyncio.timeout(SECONDS):
        assert await process.wait() == 0
    os.close(ours)
    assert "Read only; hidden: payments.card_token." in said
    assert "42" in said
    assert clone.runs() == []


async def said_until(terminal: int, words: str) -> str:
    """What a terminal was given, up to these words."""
    said = ""
    async with asyncio.timeout(SECONDS):
        while words not in said:
            said += (await asyncio.to_thread(os.read, terminal, 2**16)).decode()
    return said


async def test_it_reaches_no_container_of_another_project(clone: Clone, system: System) -> None:
    """Whatever runs on this machine beside the shop; and of the shop's it runs nothing but their own health checks."""
    script = '. cli/systems/attendant.sh; granted "$@"'

    async def granted(*words: str) -> bool:
        process = await asyncio.create_subprocess_exec(
            *("sh", "-u", "-c", script, "sh", *words),
            cwd=clone.folder,
            env={**os.environ, **system.environment},
            stderr=DEVNULL,
        )
        return await process.wait() == 0

    [order], network = await system.ids("order"), f"{system.project}_default"
    other = (await command("docker", "create", "postgres:17")).strip()
    try:
        check = ("inspect", "--format", "{{json .Config.Healthcheck}}")
        for words in (("stop",), ("network", "connect", "--alias", "order", network), check):
            assert (await granted(*words, order), await granted(*words, other)) == (True, False), words
        assert not await granted("stop", order, other)
        assert not await granted("network", "connect", "--alias", "order", "bridge", order)
        assert (await granted("exec", order, "ready"), await granted("exec", order, "id")) == (True, False)
    finally:
        await command("docker", "rm", other)
