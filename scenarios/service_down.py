"""A service is down when an order comes: its command waits in the outbox, and is tried until it is accepted."""

from collections.abc import Mapping

from scenarios.ends import CONFIRMED
from scenarios.scenario import BEANS, Choice, Deadlines, Scenario, Stage


def outage(deadlines: Deadlines) -> float:
    """Long enough to see tries fail, and shorter than the saga's patience."""
    return min(4.0, deadlines.reserve / 4)


def waits(deadlines: Deadlines) -> Mapping[str, float]:
    return {"inventory is down": outage(deadlines)}


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    async with stage.broken("inventory", "stop"):
        placed = await stage.place()
        await stage.during(outage(stage.deadlines), "inventory is down")
    await stage.ended(placed, within_seconds=30)
    await stage.settled(placed, payment="CHARGED", reservation="SHIPPED")


SCENARIO = Scenario(
    name="service-down",
    title="A service is down when an order comes",
    does=("It stops inventory, places an order, and starts inventory again.",),
    question="Inventory is down when the order is placed. What does the customer see?",
    choices=(
        Choice(
            "503: an order that cannot be reserved is not accepted.",
            lambda seen: not seen.orders,
        ),
        Choice(
            "202, and then REJECTED: the command could not be delivered.",
            lambda seen: seen.order.status == "REJECTED",
        ),
        Choice(
            "202, and then CONFIRMED: the command is a row, and is delivered until inventory has accepted it.",
            lambda seen: seen.order.status == "CONFIRMED",
        ),
    ),
    shown_by=("order", "saga reserve_stock"),
    lesson="A promise in the database outlives every outage that is shorter than the saga's patience.",
    shown_last=True,
    play=play,
    told=CONFIRMED,
    waits=waits,
    slack_seconds=15.0,
    repeats=("saga reserve_stock",),
)
