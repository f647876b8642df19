"""The card network takes its time: the charge is slow, and nothing else is."""

from collections.abc import Mapping

from scenarios.ends import CONFIRMED
from scenarios.scenario import BEANS, Choice, Deadlines, Scenario, Stage


def waits(deadlines: Deadlines) -> Mapping[str, float]:
    return {"the card network takes its time (SLOW_SECONDS)": deadlines.slow}


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    placed = await stage.place("tok_slow")
    await stage.ended(placed, within_seconds=stage.deadlines.slow + 15)
    await stage.settled(placed, payment="CHARGED", reservation="SHIPPED")


SCENARIO = Scenario(
    name="slow-card",
    title="The card network takes its time",
    does=("It places an order with a card that takes seconds to charge.",),
    question="The card network answers after seconds. How long does the call ChargePayment take?",
    choices=(
        Choice(
            "As long as the card network: the call waits for the charge.",
            lambda seen: seen.order.status == "CONFIRMED" and seen.count("charge card") == 0,
        ),
        Choice(
            "A few milliseconds: it writes an intent; a worker charges the card later, outside of any call.",
            lambda seen: seen.order.status == "CONFIRMED" and seen.count("charge card") == 1,
        ),
        Choice(
            "Its deadline: then it is tried again, and the card may be charged twice.",
            lambda seen: seen.count("charge card") > 1,
        ),
    ),
    shown_by=("payment", "charge card"),
    lesson="No handler calls the outside world: an intent is a row, and a worker with a lease works it.",
    play=play,
    told=CONFIRMED,
    waits=waits,
)
