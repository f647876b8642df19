"""Kafka is down when an order comes: the events wait in their outboxes, and nothing is lost."""

from collections.abc import Mapping

from scenarios.ends import CONFIRMED
from scenarios.scenario import BEANS, Choice, Deadlines, Scenario, Stage


def outage(deadlines: Deadlines) -> float:
    """Long enough to see sends fail, and shorter than the saga's patience."""
    return min(5.0, deadlines.reserve / 3)


def waits(deadlines: Deadlines) -> Mapping[str, float]:
    return {"Kafka is down": outage(deadlines)}


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    async with stage.broken("kafka", "down"):
        placed = await stage.place()
        await stage.during(outage(stage.deadlines), "Kafka is down")
    await stage.ended(placed, within_seconds=30)
    await stage.settled(placed, payment="CHARGED", reservation="SHIPPED")


SCENARIO = Scenario(
    name="broker-down",
    title="Kafka is down when an order comes",
    does=("It takes Kafka away, places an order, and brings Kafka back.",),
    question="Kafka is down. How far does the order get?",
    choices=(
        Choice(
            "Nowhere: the POST fails, for its event cannot be published.",
            lambda seen: not seen.orders,
        ),
        Choice(
            "It is accepted, and stock is reserved by gRPC; the event about it waits in the outbox for Kafka.",
            lambda seen: seen.order.status == "CONFIRMED",
        ),
        Choice(
            "It is accepted, and its events are lost; the deadline rejects it.",
            lambda seen: seen.order.status == "REJECTED",
        ),
    ),
    shown_by=("inventory", "send inventory.events StockReserved"),
    lesson="The time in the outbox, on the span of the send, is the outage: a row outlasts any buffer in memory.",
    shown_last=True,
    play=play,
    told=CONFIRMED,
    waits=waits,
    slack_seconds=15.0,
    repeats=("send order.events OrderPlaced", "send inventory.events StockReserved"),
    # A frozen broker has taken a message that it did not acknowledge, one that was stopped has not.
    sometimes=(("process inventory.events StockReserved", "inbox=duplicate"),),
)
