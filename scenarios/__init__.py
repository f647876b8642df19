"""What can happen to an order, played on a running system: one file, and one skeleton of its trace, for each.

Only data and the order of the acts: who plays them, and shows what came, is `cli/play`.
"""

import importlib
from pathlib import Path

from scenarios.scenario import Scenario

FOLDER = Path(__file__).parent

# In the order in which a newcomer best plays them.
NAMES = (
    "confirmed",
    "out-of-stock",
    "declined-card",
    "slow-card",
    "flaky-card",
    "lost-answer",
    "silent-card",
    "last-one-race",
    "cancel-pending",
    "cancel-confirmed",
    "repeated-post",
    "duplicate-message",
    "late-reply",
    "undo-first",
    "poison-message",
    "service-down",
    "service-frozen",
    "broker-down",
    "stuck-saga",
    "replicas",
)


def load(name: str) -> Scenario:
    """The scenario of this name, one of NAMES."""
    return importlib.import_module(f"scenarios.{name.replace('-', '_')}").SCENARIO


def skeleton_path(name: str) -> Path:
    """Where the golden skeleton of a scenario's traces is."""
    return FOLDER / f"{name.replace('-', '_')}.skeleton"
