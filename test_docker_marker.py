"""A test marked `docker` is skipped and named where no engine answers, fails where one is required, and cleans up."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
TESTS = """
import pytest

def test_pure(): pass

@pytest.mark.docker
def test_marked(): pass

@pytest.mark.parametrize("server", ["embedded", pytest.param("docker", marks=pytest.mark.docker)])
def test_either(server): pass

@pytest.fixture(params=["embedded", pytest.param("docker", marks=pytest.mark.docker)])
def server(request):
    return request.param

def test_by_fixture(server): pass
"""
ENDLESS = """
import pathlib, time
import pytest

@pytest.fixture(scope="session")
def server():
    yield
    pathlib.Path(__file__).with_name("removed").touch()

def test_endless(server):
    pathlib.Path(__file__).with_name("started").touch()
    time.sleep(60)
"""
PYTEST = (sys.executable, "-m", "pytest", "-p", "conftest", "-c", "pyproject.toml", "-p", "no:cacheprovider")
NO_ENGINE = {"DOCKER_HOST": "tcp://127.0.0.1:1"}


def run(folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a few tests, marked and not, as this project's."""
    (folder / "test_marked.py").write_text(TESTS)
    return subprocess.run(
        [*PYTEST, folder],
        cwd=ROOT,
        env={**os.environ, "REQUIRE_DOCKER": "", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_an_engine_marked_tests_are_skipped_counted_and_named(tmp_path: Path) -> None:
    """Nobody can take a run without containers for a run with them."""
    done = run(tmp_path, NO_ENGINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed, 3 skipped" in done.stdout
    assert "3 tests were skipped: no Docker engine answers (REQUIRE_DOCKER=1 makes that a failure)" in done.stdout
    for name in ("test_marked", "test_either[docker]", "test_by_fixture[docker]"):
        assert f"test_marked.py::{name}\n" in done.stdout


def test_where_an_engine_is_required_its_absence_is_a_failure(tmp_path: Path) -> None:
    """CI asks for the containers and does not get away without them."""
    done = run(tmp_path, {**NO_ENGINE, "REQUIRE_DOCKER": "1"})
    assert done.returncode == 1, done.stdout + done.stderr
    assert "3 passed, 3 errors" in done.stdout
    assert "no Docker engine answers, but REQUIRE_DOCKER=1" in done.stdout


def test_no_docker_command_is_no_engine(tmp_path: Path) -> None:
    """A machine that never had Docker is told the same."""
    done = run(tmp_path, {"PATH": str(tmp_path)})
    assert "3 passed, 3 skipped" in done.stdout, done.stdout + done.stderr


@pytest.mark.docker
def test_with_an_engine_marked_tests_run(tmp_path: Path) -> None:
    """An engine that answers is found."""
    done = run(tmp_path, {})
    assert "6 passed" in done.stdout, done.stdout + done.stderr


def test_a_run_that_is_told_to_end_removes_what_it_has_started(tmp_path: Path) -> None:
    """SIGTERM, as a gate sends it whose time is up, tears the fixtures down."""
    (tmp_path / "test_endless.py").write_text(ENDLESS)
    ends_at = time.monotonic() + 30
    with subprocess.Popen([*PYTEST, tmp_path], cwd=ROOT, stdout=subprocess.DEVNULL) as endless:
        while not (tmp_path / "started").exists() and time.monotonic() < ends_at:
            time.sleep(0.05)
        endless.terminate()
        endless.wait(30)
    assert (tmp_path / "removed").exists()
