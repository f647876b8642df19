"""Plays a scenario from the question to the answer.

what it will do ─▶ prediction ─▶ the acts, with their timelines ─▶ traces, balances ─▶ which choice came true
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cli.failures import Impossible, NotAsExpected
from cli.play.stage import LiveStage, Wanted
from cli.play.watching import Watched, short
from cli.session import Session
from cli.traces import Traces, is_whole
from infra.local.spans import Span
from scenarios.scenario import Deadlines, Order, Scenario, Seen

Json = dict[str, Any]

# Beyond what a scenario says it takes: a slow machine is no reason to give up.
PATIENCE_SECONDS = 30.0
TRACE_SECONDS_MAX = 12.0


@dataclass(frozen=True)
class Told:
    """One trace that the scenario has left: what it is, its id, its spans, and whether they are all there."""

    title: str
    trace_id: str
    spans: list[Span]
    is_whole: bool


@dataclass(kw_only=True)
class Result:
    """What a play has shown.

    predicted: the number of the choice that was expected, from 1; None if nobody was asked.
    came_true: the number of the one that holds.
    """

    scenario: Scenario
    waits: Mapping[str, float]
    seconds: float = 0.0
    seen: Seen
    traces: list[Told]
    came_true: int
    predicted: int | None = None
    stock: Mapping[str, tuple[Json, Json]] = field(default_factory=dict[str, tuple[Json, Json]])


async def deadlines(session: Session) -> Deadlines:
    """The waits of the running system."""
    found = await (await session.system()).settings()
    return Deadlines(
        reserve=found["RESERVE_DEADLINE_SECONDS"],
        charge=found["CHARGE_DEADLINE_SECONDS"],
        compensation_retry=found["COMPENSATION_RETRY_SECONDS"],
        park_after=found["PARK_AFTER_SECONDS"],
        card_timeout=found["CARD_NETWORK_TIMEOUT_SECONDS"],
        silence=found["SILENCE_SECONDS"],
        slow=found["SLOW_SECONDS"],
    )


async def check(session: Session, scenario: Scenario) -> None:
    """Returns if the scenario can be played here.

    Raises:
        Impossible: not on this system.
    """
    if scenario.containers_only and (await session.system()).kind == "embedded":
        raise Impossible(
            f"{scenario.name} cannot be played embedded: {scenario.containers_only} In containers it can:"
            " docker compose up --detach --wait"
        )


async def play(session: Session, scenario: Scenario, waits: Mapping[str, float]) -> Result:
    """Do what the scenario does, and collect what came of it.

    Raises:
        Failure: it came out otherwise than any of the choices, or did not end in time.
    """
    sides = (await session.rpc(), await session.rest(), await session.traces())
    customer = f"play-{scenario.name}"
    stage = LiveStage(customer, await deadlines(session), session.out, await session.system(), sides)
    begin = time.monotonic()
    try:
        async with asyncio.timeout(sum(waits.values()) + scenario.slack_seconds + PATIENCE_SECONDS):
            await scenario.play(stage)
        traces = await _traces(stage, scenario, sides[2])
        stock = await _stock(stage)
        seen = await _seen(stage, traces, stock)
    except TimeoutError:
        raise NotAsExpected(f"{scenario.name} has not ended in time; `./shop doctor` may say why.") from None
    finally:
        await stage.close()
    return Result(
        scenario=scenario,
        waits=waits,
        seconds=time.monotonic() - begin,
        seen=seen,
        traces=traces,
        came_true=_came_true(scenario, seen),
        stock=stock,
    )


def _came_true(scenario: Scenario, seen: Seen) -> int:
    true = [number for number, choice in enumerate(scenario.choices, 1) if choice.holds(seen)]
    if len(true) != 1:
        order = f"; the order is {seen.order.status} {seen.order.reason}".rstrip() if seen.orders else ""
        raise NotAsExpected(
            f"{scenario.name} came out otherwise than expected: {len(true)} of the choices hold{order}."
        )
    return true[0]


async def _traces(stage: LiveStage, scenario: Scenario, store: Traces) -> list[Told]:
    """The traces of the orders that were followed, the first with all that it has to tell, and those asked for."""
    wanted = [
        ("the order", placed.trace_id, scenario.told) for placed in list(stage.placed.values())[:1] if scenario.told
    ]
    found = await asyncio.gather(
        *(_found(store, each, {trace_id for _, trace_id, _ in wanted}) for each in stage.shown)
    )
    wanted += [(each.title, trace_id, each.told) for each, trace_id in zip(stage.shown, found, strict=True)]
    return list(await asyncio.gather(*(_told(store, *each) for each in wanted)))


async def _found(store: Traces, wanted: Wanted, known: set[str]) -> str:
    """The id of a trace that was asked for; its request may have been a repeat, then the order's own is left out."""
    ends_at = time.monotonic() + TRACE_SECONDS_MAX
    while True:
        ids = await store.search(wanted.service, wanted.operation, wanted.order_id)
        if others := [trace_id for trace_id in ids if trace_id not in known]:
            return others[0]
        if time.monotonic() > ends_at:
            raise NotAsExpected(f"There is no trace of {wanted.operation} about order {wanted.order_id}.")
        await asyncio.sleep(0.1)


async def _told(store: Traces, title: str, trace_id: str, told: tuple[tuple[str, str], ...]) -> Told:
    spans = await store.until(trace_id, lambda spans: is_whole(spans, told), TRACE_SECONDS_MAX)
    return Told(title, trace_id, spans, is_whole(spans, told))


async def _seen(stage: LiveStage, traces: list[Told], stock: dict[str, tuple[Json, Json]]) -> Seen:
    orders = await asyncio.gather(*(_order(stage, watched) for watched in stage.watched.values()))
    changes = {sku: int(now["available"]) - int(before["available"]) for sku, (before, now) in stock.items()}
    spans = tuple((span.service, span.name) for trace in traces for span in trace.spans)
    return Seen(orders=tuple(orders), stock=changes, spans=spans, notes=stage.notes)


async def _order(stage: LiveStage, watched: Watched) -> Order:
    order, payment, reservation = await asyncio.gather(
        stage.rpc.ask("order/GetOrder", {"orderId": watched.order_id}),
        stage.found("payment/GetPayment", watched.order_id),
        stage.found("inventory/GetReservation", watched.order_id),
    )
    entries = (await stage.rpc.ask("order/GetOrderTimeline", {"orderId": watched.order_id}))["entries"]
    events = tuple(short(entry["event"]) for entry in entries)
    return Order(order=order, events=events, timeline=tuple(entries), payment=payment, reservation=reservation)


async def _stock(stage: LiveStage) -> dict[str, tuple[Json, Json]]:
    """Each article that the play has touched, before and now."""
    return {
        sku: (before, await stage.rpc.ask("inventory/GetStock", {"sku": sku})) for sku, before in stage.shelf.items()
    }
