"""The customer cancels while the card is being charged: the saga undoes what it has begun."""

from collections.abc import Mapping

from scenarios.ends import CANCELLED, RELEASED, RESERVED, VOIDED
from scenarios.scenario import BEANS, Choice, Deadlines, Scenario, Stage


def waits(deadlines: Deadlines) -> Mapping[str, float]:
    return {"the charge that is under way takes its time (SLOW_SECONDS)": deadlines.slow}


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    placed = await stage.place("tok_slow")
    await stage.heard(placed, "StockReserved")
    await stage.settled(placed, payment="CHARGING")
    await stage.cancel(placed)
    await stage.ended(placed, within_seconds=stage.deadlines.slow + 15)
    await stage.settled(placed, payment="VOIDED", reservation="RELEASED")


SCENARIO = Scenario(
    name="cancel-pending",
    title="The customer cancels a pending order",
    does=("It places an order with a slow card, and cancels it while the charge is under way.",),
    question="The charge is at the network when the customer cancels. What is the order's way to CANCELLED?",
    choices=(
        Choice(
            "It is CANCELLED at once; money and goods follow by themselves.",
            lambda seen: seen.order.status == "CANCELLED" and seen.order.happened("StockReleased") == 0,
        ),
        Choice(
            "It is too late: the order is confirmed, and must be returned.",
            lambda seen: seen.order.status == "CONFIRMED",
        ),
        Choice(
            "The saga turns back: it has the payment undone, then the stock released, and then it is CANCELLED.",
            lambda seen: (
                seen.order.status == "CANCELLED"
                and seen.order.events.index("StockReleased") < seen.order.events.index("OrderCancelled")
            ),
        ),
    ),
    shown_by=("order", "saga cancel"),
    lesson="A pending order has one owner, its saga: it undoes in reverse order, and then tells the world.",
    play=play,
    told=(*RESERVED, ("payment", "charge card"), ("card-network", "POST /charges"), *VOIDED, *RELEASED, *CANCELLED),
    waits=waits,
)
