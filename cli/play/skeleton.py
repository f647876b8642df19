"""The skeleton of a scenario's traces: a text that is the same each time it is played, and on both systems.

titles and spans ─▶ trees ─▶ a line a span, indented ─▶ compared with the golden file, line by line
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

import scenarios
from cli.play.skeleton_line import line
from cli.play.skeleton_tree import Node, grown, has_effect, put_in_order, shared, walk
from infra.local.spans import Link, Span
from scenarios.scenario import Scenario

Traces = Sequence[tuple[str, Sequence[Span]]]
Target = tuple[str, str]

_HEADING = """\
# The traces that `./shop play {name}` leaves, a line a span: service, kind, name, and what tells its story.
# sql=[…] what it asked the database · → what it links to · ×3 so often · ×1..n how often is chance
"""
_LEFT_OUT = "# Left out, for it is chance whether it is there: {name} with {text}\n"
PARENT, ELSEWHERE, TRY_BEFORE = "its parent", "another trace", "the try before"
_INDENT = "  "
_CONTEXT_LINES = 3


def written(scenario: Scenario, traces: Traces) -> str:
    """The text of these traces.

    Args:
        traces: a title and the spans of each, in any order; traces of one title are in no order.
    """
    texts: dict[str, Counter[str]] = defaultdict(Counter)
    for title, text in _Writer(scenario, traces).texts():
        texts[title][text] += 1
    told = [
        f"\n{title}{f'  ×{number}' if number > 1 else ''}\n{text}"
        for title, counted in texts.items()
        for text, number in sorted(counted.items())
    ]
    left_out = (_LEFT_OUT.format(name=name, text=text) for name, text in scenario.sometimes)
    return "".join((_HEADING.format(name=scenario.name), *left_out, *told))


def difference(golden: str, scenario: Scenario, traces: Traces) -> str:
    """What is otherwise in these traces than in the skeleton; empty if nothing is.

    Args:
        golden: the skeleton's text; empty if there is none yet.
    """
    now = written(scenario, traces)
    if now == golden:
        return ""
    path = scenarios.skeleton_path(scenario.name).relative_to(scenarios.FOLDER.parent)
    anew = f"make skeletons NAMES={scenario.name}"
    if not golden:
        return f"There is no {path} yet. If this is how it should be: {anew}\n{now}"
    return "\n".join(
        (
            f"The traces of `{scenario.name}` are not as {path} has them. If they are right as they are now: {anew}",
            "- the skeleton",
            "+ this play",
            *_hunks(golden.splitlines(), now.splitlines()),
            "",
        )
    )


class _Writer:
    """The traces of one play, which may link to each other."""

    def __init__(self, scenario: Scenario, traces: Traces) -> None:
        self._repeats = frozenset(scenario.repeats)
        self._titles = {span.trace_id: title for title, spans in traces for span in spans}
        # At first by their names alone: what tells two of a name apart is their order, and that is to be found.
        self._names = {(span.trace_id, span.id): span.name for _, spans in traces for span in spans}
        self._named = dict(self._names)
        self._trees = [(title, grown(spans)) for title, spans in traces]
        for _, tops in self._trees:
            put_in_order(tops, frozenset(scenario.any_order), lambda node: "\n".join(self._lines(node)))
        for _, tops in self._trees:
            self._leave_out(tops, scenario.sometimes)
            self._named |= _told_apart(tops, self._repeats)

    def texts(self) -> Iterator[tuple[str, str]]:
        """The title and the lines of each trace."""
        for title, tops in self._trees:
            lines = self._siblings(tops) or ["nothing: the trace is not there"]
            yield title, "".join(f"{_INDENT}{each}\n" for each in lines)

    def _leave_out(self, siblings: list[Node], sometimes: Collection[tuple[str, str]]) -> None:
        for node in tuple(siblings):
            texts = [text for name, text in sometimes if name == node.span.name]
            if texts and any(text in each for each in self._lines(node) for text in texts):
                siblings.remove(node)
            else:
                self._leave_out(node.children, sometimes)

    def _lines(self, node: Node) -> list[str]:
        """Its own line, and below it those of what is below it."""
        batch = [link for link, _ in shared(node.span)]
        targets = (self._target(node.span, link) for link in node.span.links if link not in batch)
        links = sorted(targets, key=lambda name: (name != PARENT, name == ELSEWHERE, name))
        return [
            line(node, links, self._repeats),
            *(f"{_INDENT}{below}" for below in self._siblings(node.children)),
        ]

    def _siblings(self, nodes: Sequence[Node]) -> list[str]:
        """Equal ones once: those that follow each other with their number, those that repeat by chance wherever."""
        blocks: list[tuple[tuple[str, ...], int, bool]] = []
        for node in nodes:
            lines, repeats = tuple(self._lines(node)), node.span.name in self._repeats and not has_effect(node)
            if repeats and (lines, 1, True) in blocks:
                continue
            if not repeats and blocks and blocks[-1][0] == lines:
                blocks[-1] = (lines, blocks[-1][1] + 1, False)
            else:
                blocks.append((lines, 1, repeats))
        return [each for lines, number, repeats in blocks for each in _counted(lines, number, repeats)]

    def _target(self, span: Span, link: Link) -> str:
        if link.trace_id not in self._titles:
            return ELSEWHERE
        target = (link.trace_id, link.span_id)
        name = self._named.get(target, "a span that is missing")
        # How many tries there were is chance, and so is whether the one before it was the first.
        if {span.name, self._names.get(target)} <= self._repeats:
            return TRY_BEFORE
        if link.trace_id != span.trace_id:
            return f"{self._titles[link.trace_id]}: {name}"
        return PARENT if link.span_id == span.parent_id and target in self._named else name


def _counted(lines: Sequence[str], number: int, repeats: bool) -> Iterator[str]:
    count = "  ×1..n" if repeats else f"  ×{number}" if number > 1 else ""
    yield lines[0] + count
    yield from lines[1:]


def _told_apart(tops: Sequence[Node], repeats: frozenset[str]) -> Mapping[Target, str]:
    """What a link calls each line: its name; of several of that name by whom and what, and of later ones the number."""
    same: dict[str, list[Node]] = defaultdict(list)
    for node in walk(tops):
        same[node.span.name].append(node)
    found: dict[Target, str] = {}
    for name, nodes in same.items():
        alike = Counter((node.span.service, node.span.kind) for node in nodes)
        counted: Counter[tuple[str, str]] = Counter()
        for node in nodes:
            who = (node.span.service, node.span.kind)
            counted[who] += 1
            number = f" #{counted[who]}" if counted[who] > 1 and name not in repeats else ""
            found[node.span.trace_id, node.span.id] = f"{' '.join((*who, name)) if len(alike) > 1 else name}{number}"
    return found


def _hunks(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """A unified diff whose hunks say where in the tree they are, for a line's number says nothing."""
    # With what is above it: a line that is below another one now is another line.
    old_places, new_places = list(_places(old)), list(_places(new))
    for group in SequenceMatcher(None, old_places, new_places, autojunk=False).get_grouped_opcodes(_CONTEXT_LINES):
        _, old_at, old_to, new_at, _ = next(codes for codes in group if codes[0] != "equal")
        place = old_places[old_at] if old_to > old_at else new_places[new_at]
        yield f"@@ {place.title}{f', below {place.above}' if place.above else ''}"
        for kind, old_begin, old_end, new_begin, new_end in group:
            if kind == "equal":
                yield from (f"  {each}" for each in new[new_begin:new_end])
            else:
                yield from (f"- {each}" for each in old[old_begin:old_end])
                yield from (f"+ {each}" for each in new[new_begin:new_end])


class _Place(NamedTuple):
    """A line, what it is below in the tree, and the title of the trace."""

    line: str
    above: str
    title: str


def _places(lines: Sequence[str]) -> Iterator[_Place]:
    title, above = "", list[str]()
    for each in lines:
        depth = (len(each) - len(each.lstrip())) // len(_INDENT)
        if depth == 0:
            title = each
            yield _Place(each, "", title)
        else:
            # Who and what, without what else is said of it.
            above[depth - 1 :] = [each.strip().partition("  ")[0]]
            yield _Place(each, "".join(above[depth - 2 : depth - 1]) if depth > 1 else "", title)
