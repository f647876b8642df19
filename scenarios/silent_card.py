"""The network says nothing for so long that the saga gives up: it turns back, and the refund waits for the network."""

from collections.abc import Mapping

from scenarios.ends import TURNED_BACK, UNANSWERED
from scenarios.scenario import BEANS, Choice, Deadlines, Scenario, Stage

# The card worker's longest pause between two questions.
PAUSE_SECONDS = 5.0


def waits(deadlines: Deadlines) -> Mapping[str, float]:
    silence = max(0.0, deadlines.silence - deadlines.charge)
    return {
        "the saga's patience for the charge (CHARGE_DEADLINE_SECONDS)": deadlines.charge,
        "the rest of the network's silence (SILENCE_SECONDS)": silence,
        "the card worker asks again": PAUSE_SECONDS,
    }


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    placed = await stage.place("tok_silent")
    await stage.heard(placed, "DeadlinePassed", within_seconds=stage.deadlines.charge + 15)
    await stage.ended(placed, within_seconds=stage.deadlines.silence + 30)
    await stage.settled(placed, payment="REFUNDED", reservation="RELEASED")


SCENARIO = Scenario(
    name="silent-card",
    title="The card network says nothing",
    does=(
        "It places an order with a card that is charged, and about which the network then says nothing for a while.",
        "The saga's deadline passes before the network speaks again.",
    ),
    question="The saga's patience ends, and nobody knows whether the card was charged. What happens?",
    choices=(
        Choice(
            "The order is rejected at once; the customer has paid, and must complain.",
            lambda seen: seen.order.status == "REJECTED" and seen.order.payment["state"] == "CHARGED",
        ),
        Choice(
            "The saga wants the money back; when the network speaks again it is refunded, and the order rejected.",
            lambda seen: seen.order.status == "REJECTED" and seen.order.payment["state"] == "REFUNDED",
        ),
        Choice(
            "The order waits as long as it takes, and is confirmed.",
            lambda seen: seen.order.status == "CONFIRMED",
        ),
    ),
    shown_by=("order", "saga deadline"),
    lesson="A deadline turns the saga back; a compensation is tried until it is done, or a person is called.",
    play=play,
    told=TURNED_BACK,
    waits=waits,
    repeats=UNANSWERED,
)
