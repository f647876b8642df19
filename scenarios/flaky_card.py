"""The card network fails twice: the worker tries again, under the same key."""

from scenarios.ends import CONFIRMED
from scenarios.scenario import BEANS, Choice, Scenario, Stage


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    placed = await stage.place("tok_flaky")
    await stage.ended(placed)
    await stage.settled(placed, payment="CHARGED", reservation="SHIPPED")


SCENARIO = Scenario(
    name="flaky-card",
    title="The card network fails twice",
    does=("It places an order with a card for which the network answers 503 twice, then charges.",),
    question="The network fails twice. What becomes of the order?",
    choices=(
        Choice(
            "It is confirmed: the worker tries until it has an answer, and the third try charges.",
            lambda seen: seen.order.status == "CONFIRMED" and seen.count("charge card") == 3,
        ),
        Choice(
            "It is rejected: a failed charge is a declined card.",
            lambda seen: seen.order.status == "REJECTED",
        ),
        Choice(
            "It is confirmed, and may be charged more than once.",
            lambda seen: seen.order.status == "CONFIRMED" and len(seen.order.payment["ledgerEntries"]) > 2,
        ),
    ),
    shown_by=("payment", "charge card"),
    lesson="Each try is a span with its number; only those that failed are red. A later try asks before it charges.",
    shown_last=True,
    play=play,
    told=CONFIRMED + (("payment", "charge card"),) * 2 + (("card-network", "POST /charges"),) * 2,
)
