"""What the rules of `alerts.yml` ask for, read from the file itself: the figures, and the labels that they rely on."""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]
# What Prometheus itself adds to each figure.
ADDED = {"job", "instance"}

_RULE = re.compile(r"^ +- (?:alert|record): (\S+)$", re.MULTILINE)
_SELECTOR = re.compile(r"\b(shop_\w+)(?:\{(.*?)\})?")
_MATCHER = re.compile(r'(\w+)(=~|!=|!~|=)"(.*?)"')
_GROUPED = re.compile(r"\bby \(([\w, ]+)\)")
_TEMPLATE_LABEL = re.compile(r"\$labels\.(\w+)")


@dataclass(frozen=True)
class Selector:
    """One figure as a rule asks for it."""

    figure: str
    matchers: tuple[tuple[str, str, str], ...]

    def selects(self, figure: str, labels: dict[str, str]) -> bool:
        """Whether this sample is meant, as Prometheus understands it: patterns match the whole value."""
        return figure == self.figure and all(
            {
                "=": labels.get(name, "") == value,
                "!=": labels.get(name, "") != value,
                "=~": re.fullmatch(value, labels.get(name, "")) is not None,
                "!~": re.fullmatch(value, labels.get(name, "")) is None,
            }[operator]
            for name, operator, value in self.matchers
        )


@dataclass(frozen=True)
class Rule:
    """One rule, an alert or a record."""

    name: str
    selectors: frozenset[Selector]
    grouped_by: frozenset[str]
    template_labels: frozenset[str]


def rules() -> list[Rule]:
    """All rules of the file, in its order."""
    text = re.sub(r"^ *#.*$", "", (FOLDER / "alerts.yml").read_text(), flags=re.MULTILINE)
    _, *parts = _RULE.split(text)
    return [_rule(name, body) for name, body in zip(parts[::2], parts[1::2], strict=True)]


def _rule(name: str, body: str) -> Rule:
    return Rule(
        name,
        frozenset(Selector(figure, tuple(_MATCHER.findall(labels))) for figure, labels in _SELECTOR.findall(body)),
        frozenset(label.strip() for labels in _GROUPED.findall(body) for label in labels.split(",")),
        frozenset(_TEMPLATE_LABEL.findall(body)),
    )


def scraped() -> list[str]:
    """The names that Prometheus looks the processes up by."""
    [names] = re.findall(r"names: \[(.*?)\]", (FOLDER / "prometheus.yml").read_text())
    return names.split(", ")
