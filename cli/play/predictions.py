"""The predictions of the person who plays here: asked before, and kept in the run folder with what came true."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cli.output import Output
from scenarios.scenario import Scenario

ROOT = Path(__file__).resolve().parents[2]


def ask(out: Output) -> int:
    """The number of the answer that the person at the terminal expects."""
    answer = click.prompt("What do you expect?", type=click.Choice(["1", "2", "3"]))
    out.say("")
    return int(answer)


def keep(scenario: Scenario, predicted: int | None, came_true: int) -> None:
    """Remember a play; a run folder that cannot be written keeps nothing, for the play itself is what counts."""
    kept = all_kept()
    kept[scenario.name] = {
        "predicted": predicted,
        "cameTrue": came_true,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(kept, indent=2) + "\n")
    draft.replace(path)


def all_kept() -> dict[str, Any]:
    """The last play of each scenario, by name."""
    try:
        return json.loads(_path().read_text())
    except FileNotFoundError:
        return {}


def _path() -> Path:
    return Path(os.environ.get("SHOP_FOLDER", ROOT / ".run")) / "predictions.json"
