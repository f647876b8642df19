"""Real servers for every test: one PostgreSQL and one broker for the session, each on a free port.

A test, or a parameter of one, may be marked with what else it needs: `docker`, `browser`, `node`, as NEEDS says. Where
that is missing it is skipped, and the summary names it; where REQUIRE_DOCKER=1, and so on, it fails.
"""

import asyncio
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from infra import browser as browsers
from infra.local.broker import MockBroker
from infra.local.part import ownership
from infra.local.postgres import Postgres

# The first one with `fetch`.
NODE_VERSION_MIN = 18


@functools.cache
def docker_answers() -> bool:
    """Whether there is a Docker engine; it is asked once a session."""
    command = shutil.which("docker")
    if command is None:
        return False
    # The command and not the Python client, which leaves its socket open, a warning, where there is no engine.
    try:
        return subprocess.run([command, "version"], capture_output=True, check=False, timeout=30).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def node_is_there() -> bool:
    """Whether there is Node.js, new enough to have `fetch`, and npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, check=True, text=True).stdout
    return int(version.removeprefix("v").partition(".")[0]) >= NODE_VERSION_MIN


@dataclass(frozen=True)
class Need:
    """What not every machine has.

    Attributes:
        tests: what the summary calls the tests that need it.
        missing: how its absence is said.
        required_by: the environment variable that makes its absence a failure.
    """

    tests: str
    missing: str
    required_by: str
    is_there: Callable[[], bool]


NEEDS = {
    "docker": Need("on Docker containers", "no Docker engine answers", "REQUIRE_DOCKER", docker_answers),
    "browser": Need("in a browser", "there is no Chromium", "REQUIRE_BROWSER", lambda: browsers.chromium() is not None),
    "node": Need("with Node.js", f"there is no Node.js {NODE_VERSION_MIN} with npm", "REQUIRE_NODE", node_is_there),
}


def pytest_configure() -> None:
    # A run that is told to end takes down what it has started, as at Ctrl-C: nobody else removes its containers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Comes before any fixture, so that none tries to start what cannot be had."""
    missing = [
        need for marker, need in NEEDS.items() if item.get_closest_marker(marker) is not None and not need.is_there()
    ]
    for need in missing:
        if os.environ.get(need.required_by) == "1":
            pytest.fail(f"{need.missing}, but {need.required_by}=1", pytrace=False)
    for need in missing:
        pytest.skip(f"{need.missing} ({need.required_by}=1 makes that a failure)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was not proved for want of something is counted and named."""
    for need in NEEDS.values():
        skipped = [report for report in terminalreporter.getreports("skipped") if need.missing in str(report.longrepr)]
        if not skipped:
            continue
        tests = "1 test was" if len(skipped) == 1 else f"{len(skipped)} tests were"
        terminalreporter.section(f"not proved: the tests {need.tests}", yellow=True)
        for report in skipped:
            terminalreporter.write_line(report.nodeid)
        terminalreporter.write_line(
            f"{tests} skipped: {need.missing} ({need.required_by}=1 makes that a failure)", yellow=True
        )


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres(free_port())
    with asyncio.Runner() as runner:
        runner.run(server.initialise())
        process = subprocess.Popen(
            server.command,
            cwd=server.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **ownership(server.user),
        )
        try:
            runner.run(asyncio.wait_for(server.until_ready(), 30))
            runner.run(server.create_databases())
            yield server
        finally:
            # Fast shutdown: a connection that a failing test forgot must not hold it up.
            process.send_signal(signal.SIGINT)
            process.wait(30)
            server.remove()


class Broker:
    """A broker of its own process, that can be broken and mended."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "infra.local.broker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.bootstrap_servers: str = self._answer()["bootstrap_servers"]

    def down(self) -> None:
        """Drop every connection and refuse new ones."""
        self._tell("down")

    def up(self) -> None:
        """Take connections again."""
        self._tell("up")

    def close(self) -> None:
        self._process.communicate(timeout=10)

    def _tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@pytest.fixture
def mock_broker() -> MockBroker:
    """A broker of one test, in this process."""
    return MockBroker()


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    started = Broker()
    yield started
    started.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A Chromium without a window; a test that asks for it is marked `browser` and runs in the session's event loop."""
    async with browsers.browser() as opened:
        yield opened
