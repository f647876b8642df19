"""A test marked with a need is skipped and named where that is missing, fails where it is required, and cleans up."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from conftest import NEEDS

ROOT = Path(__file__).parent
TESTS = """
import pytest

def test_pure(): pass

@pytest.mark.NEED
def test_marked(): pass

@pytest.mark.parametrize("server", ["embedded", pytest.param("NEED", marks=pytest.mark.NEED)])
def test_either(server): pass

@pytest.fixture(params=["embedded", pytest.param("NEED", marks=pytest.mark.NEED)])
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


def run(folder: Path, need: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a few tests, marked and not, as this project's."""
    (folder / "test_marked.py").write_text(TESTS.replace("NEED", need))
    return subprocess.run(
        [*PYTEST, folder],
        cwd=ROOT,
        env={**os.environ, NEEDS[need].required_by: "", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("need", NEEDS)
def test_what_is_missing_is_counted_and_its_tests_are_skipped_and_named(tmp_path: Path, need: str) -> None:
    """Nobody can take a run without containers, or without a browser, for a run with them."""
    missing, required_by = NEEDS[need].missing, NEEDS[need].required_by
    done = run(tmp_path, need, {"PATH": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed, 3 skipped" in done.stdout
    assert f"3 tests were skipped: {missing} ({required_by}=1 makes that a failure)" in done.stdout
    for name in ("test_marked", f"test_either[{need}]", f"test_by_fixture[{need}]"):
        assert f"test_marked.py::{name}\n" in done.stdout


@pytest.mark.parametrize("need", NEEDS)
def test_where_it_is_required_its_absence_is_a_failure(tmp_path: Path, need: str) -> None:
    """CI asks for it and does not get away without it."""
    missing, required_by = NEEDS[need].missing, NEEDS[need].required_by
    done = run(tmp_path, need, {"PATH": str(tmp_path), required_by: "1"})
    assert done.returncode == 1, done.stdout + done.stderr
    assert "3 passed, 3 errors" in done.stdout
    assert f"{missing}, but {required_by}=1" in done.stdout


def test_a_docker_command_without_an_engine_is_no_engine(tmp_path: Path) -> None:
    """A machine whose engine does not run is told the same as one that never had Docker."""
    done = run(tmp_path, "docker", NO_ENGINE)
    assert "3 passed, 3 skipped" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("need", [pytest.param(need, marks=getattr(pytest.mark, need)) for need in NEEDS])
def test_where_it_is_there_marked_tests_run(tmp_path: Path, need: str) -> None:
    """An engine that answers is found, and so is a browser."""
    done = run(tmp_path, need, {})
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
