"""A compensation gets no answer for so long that the saga is parked: a person repairs, and retries it."""

import math
from collections.abc import Mapping

from scenarios.ends import CANCELLED, RELEASED, RESERVED, VOIDED
from scenarios.scenario import BEANS, Choice, Deadlines, Scenario, Stage


def patience(deadlines: Deadlines) -> float:
    """A saga looks at its patience each time that it would send the compensation again."""
    return math.ceil(deadlines.park_after / deadlines.compensation_retry) * deadlines.compensation_retry


def waits(deadlines: Deadlines) -> Mapping[str, float]:
    return {
        "the charge that is under way takes its time (SLOW_SECONDS)": deadlines.slow,
        "until the saga is parked (PARK_AFTER_SECONDS, by COMPENSATION_RETRY_SECONDS)": patience(deadlines),
        "inventory starts, and the dispatcher tries again": 10.0,
    }


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    placed = await stage.place("tok_slow")
    await stage.heard(placed, "StockReserved")
    await stage.settled(placed, payment="CHARGING")
    async with stage.broken("inventory", "stop"):
        await stage.cancel(placed)
        stage.say("nobody can release the stock; the saga sends the command again, and again")
        saga = await stage.parked(placed, within_seconds=patience(stage.deadlines) + stage.deadlines.slow + 20)
        stage.note("parked at", saga["step"])
        stage.say(f"./shop sagas list --parked: {saga['step']} of order {placed.order_id}")
        await stage.retried(placed)
    await stage.ended(placed, within_seconds=30)
    await stage.settled(placed, payment="VOIDED", reservation="RELEASED")


SCENARIO = Scenario(
    name="stuck-saga",
    title="A saga is stuck, and a person frees it",
    does=(
        "It stops inventory while an order is under way, and cancels the order: its stock cannot be released.",
        "When the saga is parked, an operator retries it, and starts inventory again.",
    ),
    question="The release gets no answer, for minutes. What does the saga do?",
    choices=(
        Choice(
            "It gives up: the order is CANCELLED, and the goods stay held.",
            lambda seen: seen.order.reservation["state"] == "HELD",
        ),
        Choice(
            "It goes back to charging: what cannot be undone must be finished.",
            lambda seen: seen.order.status == "CONFIRMED",
        ),
        Choice(
            "It sends the command again, then parks itself and raises an alarm; a person repairs, and retries.",
            lambda seen: (
                seen.order.status == "CANCELLED"
                and seen.order.happened("Parked") > 0
                and seen.order.reservation["state"] == "RELEASED"
            ),
        ),
    ),
    shown_by=("order", "saga retry"),
    lesson="A compensation must not fail; when it cannot go on, it waits for a person, and says so: ./shop sagas list.",
    play=play,
    told=(
        *RESERVED,
        ("payment", "charge card"),
        ("card-network", "POST /charges"),
        *VOIDED,
        *RELEASED,
        *CANCELLED,
        ("order", "saga retry"),
    ),
    waits=waits,
    repeats=("saga release_stock", "saga deadline"),
)
