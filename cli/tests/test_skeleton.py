"""Skeletons: whatever is changed in real traces, one thing at a time, is seen; what is only chance is not."""

import json
import random
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from google.protobuf.json_format import ParseDict
from hypothesis import given, settings, strategies
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import scenarios
from cli.play.skeleton import difference, written
from cli.tests import changes, record
from cli.tests.changes import Change, Traces
from infra.jaeger.tests.container import Jaeger, until
from infra.local.ports import Ports
from infra.local.spans import Span, trace_spans
from infra.local.system import System

NAMES = tuple(record.CARDS)


def path(name: str) -> Path:
    return record.FOLDER / f"{name}.json"


def recorded(name: str) -> Traces:
    answers = json.loads(path(name).read_text())
    return [(title, list(trace_spans(answer))) for title, answer in answers.items()]


STORIES = {name: recorded(name) for name in NAMES}
SCENARIOS = {name: scenarios.load(name) for name in NAMES}
GOLDEN = {name: scenarios.skeleton_path(name).read_text() for name in NAMES}


def unseen(name: str, traces: Traces, change: changes.ChangeOf) -> tuple[int, list[str]]:
    """How often the change can be made, and where nobody would notice it, or not find it by what is said."""
    golden = written(SCENARIOS[name], traces)
    made = list(changes.every(change, traces))
    return len(made), [
        each.says for each in made if not is_named(each, difference(golden, SCENARIOS[name], each.traces))
    ]


def is_named(change: Change, said: str) -> bool:
    changed = [line for line in said.splitlines() if line.startswith(("+ ", "- "))]
    return any(name in line for line in changed for name in (change.name, change.other) if name)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_recorded_is_what_the_scenarios_leave(name: str) -> None:
    """Else the skeletons have been written anew, and the recordings have not: `python -m cli.tests.record`."""
    assert difference(GOLDEN[name], SCENARIOS[name], STORIES[name]) == ""


@pytest.mark.parametrize("change", changes.ONE_THING, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_one_thing_that_is_otherwise_is_seen(name: str, change: changes.ChangeOf) -> None:
    """At every span of four real orders: the difference is not empty, and names the span."""
    number, passed_over = unseen(name, STORIES[name], change)
    assert number
    assert passed_over == []


@pytest.mark.parametrize("change", [changes.a_link_gone, changes.another_link, changes.gone])
def test_what_a_batch_has_shared_is_seen_too(change: changes.ChangeOf) -> None:
    """A link to a statement in the batch's own trace stands for the statement."""
    _, passed_over = unseen("confirmed", changes.batched(STORIES["confirmed"]), change)
    assert passed_over == []


@pytest.mark.parametrize("change", changes.NO_OTHER_STORY, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_chance_is_not_seen(name: str, change: changes.SameStory) -> None:
    """Times, ids, tries, places on Kafka, company in a batch, and what was exported twice."""
    other = change(STORIES[name])
    assert other != STORIES[name]
    assert difference(GOLDEN[name], SCENARIOS[name], other) == ""


@pytest.mark.parametrize("name", NAMES)
@given(seed=strategies.integers())
@settings(max_examples=20)
def test_the_order_of_the_answer_is_not_seen(name: str, seed: int) -> None:
    """A store gives the spans in the order in which they came."""
    chance = random.Random(seed)  # noqa: S311 - a test's order
    shuffled = [(title, chance.sample(spans, len(spans))) for title, spans in STORIES[name]]
    assert written(SCENARIOS[name], shuffled) == GOLDEN[name]


def test_what_may_come_in_any_order_is_not_seen_if_it_does() -> None:
    """Refund and return race to the saga; nothing else of a cancelled order does."""
    for one, other, is_chance in (
        ("saga heard PaymentRefunded", "saga heard StockReturned", True),
        ("saga reserve_stock", "saga charge_payment", False),
        ("saga heard PaymentCharged", "cancel confirmed order", False),
    ):
        said = difference(
            GOLDEN["cancel-confirmed"],
            SCENARIOS["cancel-confirmed"],
            exchanged(STORIES["cancel-confirmed"], one, other),
        )
        assert (said == "") is is_chance, said


def exchanged(traces: Traces, one: str, other: str) -> Traces:
    """Two spans of the first trace, each at the other's time."""
    (title, spans), *further = traces
    begins = {span.name: span.start for span in spans if span.name in (one, other)}
    times = {one: begins[other], other: begins[one]}
    return [(title, [replace(span, start=times.get(span.name, span.start)) for span in spans]), *further]


def test_how_often_a_try_repeats_is_not_seen_if_it_is_chance() -> None:
    """Nor is how it failed; but that it was tried at all is, and what was tried only once."""
    scenario = replace(SCENARIOS["flaky-card"], repeats=("charge card", "POST /charges"))
    traces = STORIES["flaky-card"]
    golden = written(scenario, traces)
    assert "charge card  payment=NO_ANSWER  ERROR  ×1..n" in golden
    assert "charge card  payment=NO_ANSWER  ERROR  → the try before  ×1..n" in golden
    doubled = [each for each in changes.every(changes.one_more, traces) if each.name == "charge card"]
    seen = [difference(golden, scenario, each.traces) != "" for each in doubled if "with all below it" in each.says]
    # Two tries failed; what was charged once is not charged twice by chance.
    assert sorted(seen) == [False, False, True]
    [(title, spans)] = traces
    otherwise = [
        replace(span, attributes={**span.attributes, "error.type": "Other"})
        if span.name == "charge card" and span.error is not None
        else span
        for span in spans
    ]
    assert difference(golden, scenario, [(title, otherwise)]) == ""
    for each in changes.every(changes.gone, traces):
        assert difference(golden, scenario, each.traces), each.says


def test_what_is_there_only_sometimes_is_not_seen_at_all() -> None:
    """A repeat that is known for one by its text; the skeleton says that it is left out. Any other is seen."""
    message = "process inventory.events StockReserved"
    scenario = replace(SCENARIOS["confirmed"], sometimes=((message, "inbox=duplicate"),))
    golden = written(scenario, STORIES["confirmed"])
    assert f"# Left out, for it is chance whether it is there: {message} with inbox=duplicate\n" in golden
    [(title, spans)] = STORIES["confirmed"]
    [applied] = [span for span in spans if span.name == message]
    for outcome, is_seen in (("duplicate", False), ("applied", True)):
        attributes = {**applied.attributes, "shop.inbox.outcome": outcome}
        repeat = replace(applied, id=applied.id[::-1], start=applied.end, attributes=attributes)
        assert (difference(golden, scenario, [(title, [*spans, repeat])]) != "") is is_seen


def test_traces_of_one_title_are_in_no_order() -> None:
    """Which of many orders wins a race is chance, how many lose it is not."""
    scenario = SCENARIOS["confirmed"]
    [(_, won)], [(_, lost)] = STORIES["confirmed"], STORIES["declined-card"]
    golden = written(scenario, [("an order", won), ("an order", lost), ("an order", lost)])
    assert "an order  ×2\n" in golden
    assert difference(golden, scenario, [("an order", lost), ("an order", won), ("an order", lost)]) == ""
    assert difference(golden, scenario, [("an order", lost), ("an order", won), ("an order", won)])


def test_a_span_whose_parent_is_missing_is_shown_and_marked() -> None:
    """At the top, with all below it; a circle is cut where it begins."""
    [(title, spans)] = STORIES["confirmed"]
    [saga] = [span for span in spans if span.name == "saga reserve_stock"]
    [served] = [span for span in spans if span.parent_id == saga.id]
    orphaned = written(SCENARIOS["confirmed"], [(title, [span for span in spans if span is not saga])])
    assert "\n  inventory SERVER shop.inventory.v1.InventoryService/ReserveStock  reservation=HELD" in orphaned
    assert orphaned.count("its parent is missing") == 1
    circled = written(
        SCENARIOS["confirmed"],
        [(title, [replace(span, parent_id=served.id) if span is saga else span for span in spans])],
    )
    assert circled.count("it is below itself") == 1
    assert "\n  order CLIENT saga reserve_stock" in circled
    assert written(SCENARIOS["confirmed"], [(title, [])]).endswith("\nthe order\n  nothing: the trace is not there\n")


def test_a_difference_says_where_it_is_and_what_to_do() -> None:
    """The lines around it, what they are below, and the command that writes the skeleton anew."""
    [(title, spans)] = STORIES["confirmed"]
    [charge] = [span for span in spans if span.name == "charge card"]
    left = [span for span in spans if span.parent_id != charge.id or span.name != "UPDATE payments"]
    said = difference(GOLDEN["confirmed"], SCENARIOS["confirmed"], [(title, left)])
    assert "make skeletons NAMES=confirmed" in said.splitlines()[0]
    assert "@@ the order, below payment SERVER shop.payment.v1.PaymentService/ChargePayment" in said
    assert [line.strip("+- ") for line in said.splitlines() if line.startswith(("+  ", "-  "))] == [
        "payment INTERNAL charge card  payment=CHARGED  sql=[INSERT ledger_entries, UPDATE payments]",
        "payment INTERNAL charge card  payment=CHARGED  sql=[INSERT ledger_entries]",
    ]
    assert "There is no scenarios/confirmed.skeleton yet" in difference(
        "", SCENARIOS["confirmed"], STORIES["confirmed"]
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    async with System(ports=Ports.free()) as system:
        yield system


@pytest.mark.asyncio(loop_scope="module")
async def test_an_order_of_today_reads_like_the_recorded_one(system: System) -> None:
    """And whatever is changed in it, one thing at a time, is seen."""
    answers = await record.played(system, "confirmed")
    traces = [(title, list(trace_spans(answer))) for title, answer in answers.items()]
    assert difference(GOLDEN["confirmed"], SCENARIOS["confirmed"], traces) == ""
    for change in changes.ONE_THING:
        assert unseen("confirmed", traces, change)[1] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_an_order_in_a_crowd_reads_like_one_that_came_alone(system: System) -> None:
    """Whether messages share a transaction, and with whose, is chance: each order of a crowd has the same skeleton."""
    for answers in (json.loads(path(record.CROWD).read_text()), *await record.crowd(system)):
        traces = [(title, list(trace_spans(answer))) for title, answer in answers.items()]
        assert difference(GOLDEN["confirmed"], SCENARIOS["confirmed"], traces) == ""


@pytest.mark.docker
@pytest.mark.parametrize("configuration", ["memory", "badger"])
def test_jaeger_and_the_embedded_store_tell_the_same(tmp_path: Path, configuration: str) -> None:
    """The same spans, asked back from both."""
    with Jaeger(tmp_path, configuration) as jaeger:
        for name in (*NAMES, record.CROWD):
            answers = json.loads(path(name).read_text())
            jaeger.send(*(otlp(answer) for answer in answers.values()))
            traces = [(title, asked_back(jaeger, answer)) for title, answer in answers.items()]
            story = "confirmed" if name == record.CROWD else name
            assert difference(GOLDEN[story], SCENARIOS[story], traces) == ""


def otlp(answer: record.Json) -> ExportTraceServiceRequest:
    """An answer of the query API as a process would have exported it."""
    exported = json.loads(json.dumps(answer["result"]), object_hook=_with_bytes)
    return ParseDict(exported, ExportTraceServiceRequest())


def _with_bytes(found: record.Json) -> record.Json:
    ids = {
        key: b64encode(bytes.fromhex(found[key])).decode()
        for key in ("traceId", "spanId", "parentSpanId")
        if key in found
    }
    return {**found, **ids}


def asked_back(jaeger: Jaeger, answer: record.Json) -> list[Span]:
    """The spans of a trace, once Jaeger has as many as it was sent."""
    sent = list(trace_spans(answer))

    def ask() -> list[Span] | None:
        got = httpx.get(f"{jaeger.url}/api/v3/traces/{sent[0].trace_id}", params={"raw_traces": "true"})
        found = list(trace_spans(got.json())) if got.status_code == 200 else []
        return found if len(found) >= len(sent) else None

    return until(ask, f"trace {sent[0].trace_id} did not come")
