"""The card network is slower than the saga's deadline: the saga turns back, then PaymentCharged arrives."""

from collections.abc import Mapping

from scenarios.ends import TURNED_BACK, UNANSWERED
from scenarios.scenario import BEANS, Choice, Deadlines, Scenario, Stage


def waits(deadlines: Deadlines) -> Mapping[str, float]:
    return {
        "the saga's patience for the charge (CHARGE_DEADLINE_SECONDS)": deadlines.charge,
        "a refund is tried in vain (CARD_NETWORK_TIMEOUT_SECONDS)": in_vain(deadlines),
    }


def in_vain(deadlines: Deadlines) -> float:
    """Until no call of before the deadline is under way any more: which of two is answered first is no chance then."""
    return deadlines.card_timeout + 0.5


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    async with stage.broken("card-network", "freeze"):
        placed = await stage.place()
        await stage.heard(placed, "DeadlinePassed", within_seconds=stage.deadlines.charge + 15)
        await stage.during(in_vain(stage.deadlines), "the card network is still frozen")
    await stage.ended(placed, within_seconds=30)
    await stage.settled(placed, payment="REFUNDED", reservation="RELEASED")


SCENARIO = Scenario(
    name="late-reply",
    title="The reply comes after the deadline",
    does=(
        "It freezes the card network, and places an order; the charge lies at the network's door.",
        "When the saga's deadline has passed, the network goes on, and charges.",
    ),
    question="The saga has turned back when PaymentCharged arrives. What does it do with it?",
    choices=(
        Choice(
            "It confirms the order after all: the money is there.",
            lambda seen: seen.order.status == "CONFIRMED",
        ),
        Choice(
            "It ignores it, and the customer has paid for nothing.",
            lambda seen: seen.order.status == "REJECTED" and seen.order.payment["state"] == "CHARGED",
        ),
        Choice(
            "It notes it, and stays on its way back: the refund that it has asked for gives the money back.",
            lambda seen: (
                seen.order.status == "REJECTED"
                and seen.order.payment["state"] == "REFUNDED"
                and seen.order.happened("PaymentCharged") == 1
            ),
        ),
    ),
    shown_by=("order", "saga heard PaymentCharged"),
    lesson="Every pair of step and event has its reaction, late ones too: see `react` in services/order/saga.py.",
    play=play,
    told=TURNED_BACK,
    waits=waits,
    repeats=UNANSWERED,
)
