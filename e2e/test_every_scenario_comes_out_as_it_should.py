"""Each scenario of `./shop play`, on a running system, by the command that a person types."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest

import scenarios
from cli.play import skeleton
from e2e.conftest import OVERRIDES, Shop, embedded, on_containers
from e2e.plays import PLAYED_THERE, Played, Plays, command_line
from infra.local.parts import ROOT
from infra.local.spans import Span, trace_spans
from scenarios.scenario import Deadlines, Scenario

# Beyond level 11 the names begin to leave Jaeger's column.
DEPTH_MAX = 11

SETTINGS = {name: float(value) for own in OVERRIDES.values() for name, value in own.items() if name.endswith("SECONDS")}
DEADLINES = Deadlines(
    reserve=SETTINGS["RESERVE_DEADLINE_SECONDS"],
    charge=SETTINGS["CHARGE_DEADLINE_SECONDS"],
    compensation_retry=SETTINGS["COMPENSATION_RETRY_SECONDS"],
    park_after=SETTINGS["PARK_AFTER_SECONDS"],
    card_timeout=SETTINGS["CARD_NETWORK_TIMEOUT_SECONDS"],
    silence=SETTINGS["SILENCE_SECONDS"],
    slow=SETTINGS["SLOW_SECONDS"],
)

Json = dict[str, Any]


async def spans_of(shop: Shop, trace_id: str) -> list[Span]:
    async with httpx.AsyncClient(base_url=shop.system.traces_url, timeout=15, trust_env=False) as client:
        answer = await client.get(f"/api/v3/traces/{trace_id}", params={"raw_traces": "true"})
    return list(trace_spans(answer.json()))


def depth(spans: Sequence[Span]) -> int:
    """Of the deepest span; 1 for a root."""
    by_id = {span.id: span for span in spans}

    def levels(span: Span) -> int:
        above = by_id.get(span.parent_id)
        return 1 if above is None else 1 + levels(above)

    return max(map(levels, spans))


@embedded
@pytest.mark.parametrize("name", scenarios.NAMES)
async def test_a_scenario_comes_out_as_it_should(shop: Shop, plays: Plays, name: str) -> None:
    """One of the three answers comes true, in the time that it names; its traces are those of the skeleton."""
    scenario, played = scenarios.load(name), await plays.of(name)
    if scenario.containers_only:
        assert (played.code, played.out) == (3, ""), played.errors
        assert scenario.containers_only in played.errors
    else:
        await comes_out_as_it_should(shop, scenario, played)


@on_containers
@pytest.mark.parametrize("name", PLAYED_THERE)
async def test_it_comes_out_as_it_should_on_real_servers(shop: Shop, plays: Plays, name: str) -> None:
    """The same, with the same skeleton, on PostgreSQL, Kafka and Jaeger."""
    await comes_out_as_it_should(shop, scenarios.load(name), await plays.of(name))


async def comes_out_as_it_should(shop: Shop, scenario: Scenario, played: Played) -> None:
    assert played.told["seconds"] <= sum(scenario.waits(DEADLINES).values()) + scenario.slack_seconds
    traces = [(title, await spans_of(shop, trace_id)) for title, trace_id in played.trace_ids.items()]
    golden = scenarios.skeleton_path(scenario.name).read_text()
    assert skeleton.difference(golden, scenario, traces) == ""
    assert {title: depth(spans) for title, spans in traces if depth(spans) > DEPTH_MAX} == {}


async def test_a_scenario_that_nobody_knows_is_refused_with_those_that_are_near(found: Mapping[str, str]) -> None:
    """A typing mistake costs one look."""
    refused = await command_line(found, "play", "confirmd")
    assert refused.code == 5
    assert "confirmed" in refused.errors


def test_the_command_line_of_this_python_is_meant() -> None:
    """`./shop` runs from .venv, as these tests do."""
    assert sys.prefix == str(ROOT / ".venv")
