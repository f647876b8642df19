"""Writing skeletons anew: only what is the same each time becomes a golden file."""

from dataclasses import replace
from pathlib import Path

import pytest

import scenarios
from cli.failures import NotAsExpected
from cli.play import skeleton
from cli.play.write_skeletons import PLAYS, Play, write
from cli.tests.test_skeleton import GOLDEN, SCENARIOS, STORIES
from scenarios.scenario import Scenario


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the golden files are, for the length of a test."""
    monkeypatch.setattr(scenarios, "FOLDER", tmp_path)


def plays(*traces: skeleton.Traces) -> Play:
    """Plays that leave these traces, one after the other."""
    left = list(traces)

    async def play(scenario: Scenario) -> skeleton.Traces:
        return left.pop(0)

    return play


async def test_a_skeleton_is_written_once_it_was_the_same_each_time() -> None:
    """And whoever asked hears whether it is another than before."""
    told = STORIES["confirmed"]
    assert await write(SCENARIOS["confirmed"], plays(*[told] * PLAYS))
    assert scenarios.skeleton_path("confirmed").read_text() == GOLDEN["confirmed"]
    assert not await write(SCENARIOS["confirmed"], plays(*[told] * PLAYS))


async def test_what_is_another_each_time_is_not_written() -> None:
    """The scenario has not said what is chance; the message shows it."""
    [(title, spans)] = STORIES["confirmed"]
    once_more = [
        *spans,
        *(replace(span, id=span.id[::-1]) for span in spans if span.name == "send order.events OrderPlaced"),
    ]
    with pytest.raises(NotAsExpected, match=r"(?s)not the same twice.*\+ .*send order.events OrderPlaced.*×2"):
        await write(SCENARIOS["confirmed"], plays(STORIES["confirmed"], [(title, once_more)]))
    assert not scenarios.skeleton_path("confirmed").exists()
