"""What holds for the trace of every kind of order, so that a person can read it from top to bottom."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

from e2e.conftest import OVERRIDES, Shop, Span
from e2e.kinds import POST
from e2e.stories import Stories
from e2e.tree import CLIENT, ERROR, INTERNAL, SERVER

ROOT = Path(__file__).resolve().parents[1]
DEPTH_MAX, CONFIRMED_DEPTH_MAX = 11, 9
CONFIRMED_SPANS_MAX = 42
# A repeated POST, or a cancel of what the saga undoes: the request, the call, what it asks the database.
REQUEST_SPANS_MAX = 8
SUCCEEDED_AT_ONCE = ("confirmed", "slow card", "repeated POST")
WITHOUT_A_FAILURE = (*SUCCEEDED_AT_ONCE, "out of stock", "declined card", "cancelled when confirmed")
COMMANDS = ("reserve_stock", "charge_payment", "refund_payment", "release_stock")
# What is tried again when it fails; only these may be errors.
TRIES = (*(f"saga {command}" for command in COMMANDS), "charge card", "void charge", "send ", "GET ", "POST /charges")


async def test_it_is_one_tree(stories: Stories) -> None:
    """One root, the customer's request, and no parent that is missing."""
    assert {name: [span.name for span in told.tree.roots] for name, told in stories.items()} == {
        name: [POST] for name in stories
    }
    assert [
        (name, len(tree.roots)) for name, told in stories.items() for tree in told.trees if len(tree.roots) != 1
    ] == []
    assert [(name, span.name) for name, told in stories.items() for tree in told.trees for span in tree.orphans] == []


async def test_it_is_no_deeper_than_a_page_shows(stories: Stories) -> None:
    """Beyond level 11 the names begin to leave Jaeger's column; a confirmed order stays well before."""
    depths = {name: max(map(told.tree.depth, told.tree.spans)) for name, told in stories.items()}
    confirmed = {name: depth for name, depth in depths.items() if stories[name].kind.status == "CONFIRMED"}
    assert max(confirmed.values()) <= CONFIRMED_DEPTH_MAX, f"{confirmed}\n{stories['confirmed'].tree}"
    assert max(depths.values()) <= DEPTH_MAX, depths


async def test_an_order_that_went_well_is_no_longer_than_a_page(stories: Stories) -> None:
    """At most 42 rows, and a few for each request that came later."""
    lengths = {name: len(stories[name].tree.spans) for name in SUCCEEDED_AT_ONCE}
    assert max(lengths.values()) <= CONFIRMED_SPANS_MAX, f"{lengths}\n{stories['confirmed'].tree}"
    requests = {name: len(tree.spans) for name, told in stories.items() for tree in told.requests}
    assert max(requests.values()) <= REQUEST_SPANS_MAX, requests


async def test_every_span_leads_to_its_code(stories: Stories) -> None:
    """To a line of this repository, inside the function that it names."""
    wrong: set[str] = set()
    for name, _, span in stories.spans():
        function, path, line = (
            span.attributes.get(f"code.{part}") for part in ("function.name", "file.path", "line.number")
        )
        if not (function and path and line):
            wrong.add(f"{name}: {span.service} {span.name} has no code")
        elif function not in functions_at(path, int(line)):
            wrong.add(f"{name}: {span.service} {span.name} leads to {path}:{line}, which is not in {function}")
    assert sorted(wrong) == []


@cache
def functions_at(path: str, line: int) -> set[str]:
    """The full names of the functions that a line of a file is in, decorators included."""
    found: set[str] = set()

    def look(node: ast.AST, above: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                begins = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                if begins <= line <= (child.end_lineno or 0):
                    found.add(f"{above}.{child.name}")
                    look(child, f"{above}.{child.name}" + ("" if isinstance(child, ast.ClassDef) else ".<locals>"))
            else:
                look(child, above)

    if (ROOT / path).is_file():
        look(ast.parse((ROOT / path).read_text()), path.removesuffix(".py").replace("/", "."))
    return found


async def test_every_span_names_the_order(stories: Stories) -> None:
    """The root too, so that Jaeger finds the trace by a tag, whichever service is asked."""
    strangers = {
        (name, span.service, span.name)
        for name, told in stories.items()
        for span in told.ours
        if span.attributes.get("shop.order.id") != told.played.order_id
    }
    # Which order a repeated POST is about is known when the database has answered.
    asked = {("repeated POST", "order", name) for name in ("INSERT orders", "SELECT orders")}
    assert strangers - asked == set()


async def test_no_span_says_what_its_parent_has_said(stories: Stories) -> None:
    """Both ends of one call share a name; nothing else does."""
    repeats = {
        (name, span.service, span.name)
        for name, tree, span in stories.spans()
        if (above := tree.parent(span)) and above.name == span.name and (above.kind, span.kind) != (CLIENT, SERVER)
    }
    assert repeats == set()


async def test_names_are_few(stories: Stories) -> None:
    """No name holds an id, a key or a number: the versions of the protos are the only digits."""
    names = {span.name for _, _, span in stories.spans()}
    assert {name for name in names if re.search(r"\d", re.sub(r"\bv1\b", "", name))} == set()
    assert len(names) <= 80, sorted(names)


async def test_what_went_well_in_the_end_is_no_error(stories: Stories) -> None:
    """A refusal is an answer; where nothing failed, nothing is marked."""
    failed = {(name, span.service, span.name) for name, _, span in stories.spans() if span.status == ERROR}
    assert {entry for entry in failed if entry[0] in WITHOUT_A_FAILURE} == set()
    confirmed = [told.tree for told in stories.values() if told.kind.status == "CONFIRMED"]
    assert [tree.order.name for tree in confirmed if ERROR in (tree.roots[0].status, tree.order.status)] == []


async def test_only_tries_fail(stories: Stories) -> None:
    """What the saga heard and what others did about it is never marked, only the try itself, at both of its ends."""
    blamed = {
        (name, span.service, span.name)
        for name, tree, span in stories.spans()
        if span.status == ERROR and not is_try(span) and not ((above := tree.parent(span)) and is_try(above))
    }
    assert blamed == set()


def is_try(span: Span) -> bool:
    return span.name.startswith(TRIES) and span.kind != SERVER


async def test_failed_tries_are_marked_and_the_last_is_not(stories: Stories) -> None:
    """Flaky: two tries fail before one charges. Kafka away: events were sent in vain first."""
    tries = stories["flaky card"].tree.named("charge card")
    assert [span.status == ERROR for span in tries] == [True, True, False]
    lost = stories["lost answer"].tree.named("charge card")
    assert [span.status == ERROR for span in lost] == [True, False]
    sent = defaultdict[str, list[bool]](list)
    for span in stories["Kafka away and back"].tree.beginning("send "):
        sent[span.name].append(span.status == ERROR)
    assert any(True in failures for failures in sent.values())
    assert [name for name, failures in sent.items() if failures[-1]] == []
    reserving = stories["deadline of a step"].tree.named("saga reserve_stock")
    assert [span.name for span in reserving[:-1] if span.status != ERROR] == []


async def test_the_saga_stands_below_the_order(stories: Stories) -> None:
    """Each command, each event heard, each deadline and cancel is a child of the order's span, whatever caused it."""
    for name, told in stories.items():
        steps = told.tree.saga
        assert len(steps) >= 2, name
        elsewhere = [span.name for span in steps if told.tree.parent(span) is not told.tree.order]
        assert elsewhere == [], f"{name}\n{told.tree}"
        commands = {f"saga {command}" for command in COMMANDS}
        assert {span.kind for span in steps if span.name in commands} <= {CLIENT}, name
        assert {span.kind for span in steps if span.name not in commands} <= {INTERNAL}, name


async def test_what_the_saga_heard_links_to_how_it_heard_it(stories: Stories) -> None:
    """`saga heard X` links to a `process … X` that began before it."""
    for name, told in stories.items():
        heard = told.tree.beginning("saga heard ")
        assert heard, name
        for span in heard:
            event = span.name.removeprefix("saga heard ")
            causes = [cause for cause in told.tree.linked(span) if re.fullmatch(rf"process \S+ {event}", cause.name)]
            assert causes, f"{name}: {span.name} links to no process span\n{told.tree}"
            assert causes[0].start_ns <= span.start_ns, f"{name}: {span.name}"


async def test_a_deadline_and_a_cancel_stand_where_they_struck(stories: Stories) -> None:
    """`saga deadline` says which step, its limit and the reason; `saga cancel` links to the request for it."""
    for kind, step, seconds in (
        ("deadline of a step", "RESERVING_STOCK", OVERRIDES["order"]["RESERVE_DEADLINE_SECONDS"]),
        ("silent card", "CHARGING_PAYMENT", OVERRIDES["order"]["CHARGE_DEADLINE_SECONDS"]),
    ):
        deadline = stories[kind].tree.named("saga deadline")[0]
        assert deadline.attributes["shop.saga.step_before"] == step
        assert deadline.attributes["shop.saga.reason"] == stories[kind].kind.reason
        assert f"{step}: no answer within {seconds} s" in str(deadline.attributes["shop.saga.facts"])
    for kind, name in (
        ("cancelled while pending", "saga cancel"),
        ("cancelled when confirmed", "cancel confirmed order"),
    ):
        told = stories[kind]
        [cancel] = told.tree.named(name)
        assert told.tree.parent(cancel) is told.tree.order
        linked = {trace_id for trace_id, _ in cancel.links}
        assert linked & set(told.played.further_trace_ids), f"{kind}: links to {linked}"


async def test_repeats_are_numbered(stories: Stories) -> None:
    """`shop.saga.attempt` counts how often the saga sent a command, `shop.command.try` the calls for each: 1, 2, 3 …

    A call that only asks whether its target is back says `shop.command.probe` instead. The calls of the card network
    are counted for each charge and for each refund.
    """
    for name, told in stories.items():
        for command in COMMANDS:
            calls = [span for span in told.tree.named(f"saga {command}") if "shop.command.probe" not in span.attributes]
            numbers = [(span.attributes["shop.saga.attempt"], span.attributes["shop.command.try"]) for span in calls]
            numbered = [(int(attempt), int(number)) for attempt, number in numbers]
            assert numbered == sorted(numbered), f"{name}: {command}"
            attempts = sorted({attempt for attempt, _ in numbered})
            assert attempts == list(range(1, len(attempts) + 1)), f"{name}: {command} {numbered}"
            for attempt in attempts:
                tries = [number for of, number in numbered if of == attempt]
                assert tries == list(range(1, len(tries) + 1)), f"{name}: {command} {numbered}"
        for work in ("charge card", "void charge"):
            numbers = [int(span.attributes["shop.payment.attempt"]) for span in told.tree.named(work)]
            assert numbers == list(range(1, len(numbers) + 1)), f"{name}: {work}"
    reserving = stories["deadline of a step"].tree.named("saga reserve_stock")
    assert {"shop.command.probe" in span.attributes for span in reserving} == {False, True}
    assert len(stories["silent card"].tree.named("saga refund_payment")) > 1


async def test_time_runs_downwards(stories: Stories) -> None:
    """Nothing begins before what it stands below, nor before what it links to in the same trace."""
    early = {
        (name, span.name, before.name)
        for name, tree, span in stories.spans()
        for before in filter(None, (tree.parent(span), *tree.linked(span)))
        if span.start_ns < before.start_ns
    }
    assert early == set()


async def test_a_search_for_the_order_finds_its_trace(shop: Shop, stories: Stories) -> None:
    """Service gateway, operation POST /v1/orders and the order's id: one trace, and one for each repeat of the POST."""
    for name, told in stories.items():
        repeats = set(told.played.further_trace_ids) if name == "repeated POST" else set[str]()
        found = await shop.traces_of(told.played.order_id, POST)
        assert found == {told.played.trace_id, *repeats}, name


async def test_a_repeat_links_to_the_first(stories: Stories) -> None:
    """So that a reader who found the small trace gets to the story."""
    told = stories["repeated POST"]
    [repeat] = told.requests
    linked = {link for span in repeat.spans for link in span.links}
    assert (told.played.trace_id, told.tree.order.span_id) in linked
