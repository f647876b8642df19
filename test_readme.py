"""What the README says is so: its files, functions, commands and settings exist."""

import importlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from chassis.version import VERSION
from cli.__main__ import VERBS
from scenarios import NAMES

ROOT = Path(__file__).parent
README = (ROOT / "README.md").read_text()
HOPS = re.findall(r"^\|[^|]+\| `([\w/]+)\.py` \| `([\w.]+)` \|$", README, re.MULTILINE)


def test_the_table_of_hops_is_there() -> None:
    """The pattern that finds the hops still fits the table."""
    assert len(HOPS) > 15


@pytest.mark.parametrize(("module", "name"), HOPS)
def test_every_hop_names_a_function_that_exists(module: str, name: str) -> None:
    """A reader who looks a hop up finds it."""
    found: object = importlib.import_module(module.replace("/", "."))
    for part in name.split("."):
        found = getattr(found, part)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:[\w.]+/)+[\w.]*)`", README))))
def test_every_path_exists(path: str) -> None:
    """A reader who opens a path finds it."""
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    "path", ["explorer", "gateway", "services.order", "services.payment", "services.inventory", "infra.card_network"]
)
def test_every_setting_has_a_meaning(path: str) -> None:
    """A reader who looks for what can be set finds a sentence about it."""
    module = importlib.import_module(f"{path}.settings")
    settings = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__]
    assert len(settings) == 1
    assert [name for name, field in settings[0].model_fields.items() if not field.description] == []


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)", README))))
def test_every_make_target_exists(target: str) -> None:
    """A reader who types a command is not told that there is no rule for it."""
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603, S607
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", sorted(set(re.findall(r"\./shop ([a-z][a-z-]*)", README))))
def test_every_verb_of_the_command_line_exists(verb: str) -> None:
    """A reader who types it is not told that there is no such command."""
    assert verb in VERBS


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\./shop play ([a-z][a-z-]*)", README))))
def test_every_scenario_that_is_named_exists(name: str) -> None:
    """A reader who plays it sees what the README shows."""
    assert name in NAMES


def test_the_version_is_that_of_the_project() -> None:
    """What traces and the OpenAPI document name is what is released."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
