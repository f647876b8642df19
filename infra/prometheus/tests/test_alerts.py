"""The rules are valid, each alert has been seen to fire and not to fire, and says what to do."""

import re
import subprocess

import pytest

from infra.prometheus.tests.rules import ADDED, FOLDER, Rule, rules, scraped

ROOT = FOLDER.parents[1]
CASES = "".join(path.read_text() for path in sorted((FOLDER / "tests").glob("*_test.yml")))
ALERTS = {rule.name for rule in rules() if ":" not in rule.name}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool, of the image that compose.yaml names, on this folder."""
    [image] = re.findall(r"image: (prom/prometheus:\S+)", (ROOT / "compose.yaml").read_text())
    container = ["docker", "run", "--rm", "--network", "none", "--volume", f"{FOLDER}:/etc/prometheus:ro"]
    command = [*container, "--workdir", "/etc/prometheus", "--entrypoint", "promtool", image, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.docker
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"),
        ("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"),
        ("test", "rules", "tests/alerts_test.yml"),
        ("test", "rules", "tests/promise_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_nothing_wrong(arguments: tuple[str, ...]) -> None:
    """Syntax, doubtful rules, and what each alert does with days of figures."""
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_seen_to_fire() -> None:
    """An alert that no case expects to fire may never do so."""
    expected = re.findall(r'labels: \'ALERTS\{alertname="(\w+)"', CASES)
    assert set(expected) == ALERTS


@pytest.mark.parametrize("rule", [rule for rule in rules() if rule.name in ALERTS], ids=lambda rule: rule.name)
def test_what_an_alert_says_of_itself_is_known_to_it(rule: Rule) -> None:
    """A label that is not in the result would be left out of the sentence without a word."""
    assert rule.template_labels <= rule.grouped_by | ADDED


def test_the_readme_explains_every_alert() -> None:
    """Whoever is paged finds the alert by its name."""
    assert set(re.findall(r"^\| `(\w+)` \|", (FOLDER / "README.md").read_text(), re.MULTILINE)) == ALERTS


def test_a_service_that_is_scraped_is_missed_when_it_is_gone() -> None:
    """A process that is gone has no figures, so the rule has to name each."""
    [down] = [rule for rule in rules() if rule.name == "ServiceDown"]
    named = {value for selector in down.selectors for name, _, value in selector.matchers if name == "job"}
    assert named == set(scraped())
