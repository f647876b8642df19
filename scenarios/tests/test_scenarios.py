"""What holds for every scenario, without playing it."""

import pytest

import scenarios
from scenarios.scenario import Deadlines

DEADLINES = Deadlines(reserve=20, charge=30, compensation_retry=10, park_after=300, card_timeout=5, silence=45, slow=3)
# What waits for a process or a container to start again has more room than the others.
SLOW = {"service-down", "service-frozen", "broker-down", "replicas"}


def test_every_file_is_listed_once() -> None:
    """A scenario that is not in NAMES could not be played, and nobody would notice."""
    files = {path.stem.replace("_", "-") for path in scenarios.FOLDER.glob("*.py")} - {"--init--", "scenario", "ends"}
    assert set(scenarios.NAMES) == files
    assert len(scenarios.NAMES) == len(files)


@pytest.mark.parametrize("name", scenarios.NAMES)
def test_a_scenario_says_what_a_person_needs_before_it_begins(name: str) -> None:
    """Its name, what it does, one question with three different answers, and how long it takes."""
    scenario = scenarios.load(name)
    assert scenario.name == name
    assert scenario.question.endswith("?")
    assert len({choice.text for choice in scenario.choices}) == 3
    for sentence in (*scenario.does, *(choice.text for choice in scenario.choices), scenario.lesson):
        assert sentence.endswith((".", "!")), sentence
    assert scenario.slack_seconds == (15 if name in SLOW else 3)
    assert all(seconds >= 0 for seconds in scenario.waits(DEADLINES).values())


@pytest.mark.parametrize("name", scenarios.NAMES)
def test_its_skeleton_has_the_span_that_shows_it(name: str) -> None:
    """What a person is sent to is there to be seen."""
    text = scenarios.skeleton_path(name).read_text()
    service, span = scenarios.load(name).shown_by
    assert any(line.split()[:1] == [service] and span in line for line in text.splitlines())
