"""The network charges, but its answer is lost: payment asks before it charges again."""

from scenarios.ends import CONFIRMED
from scenarios.scenario import BEANS, Choice, Scenario, Stage


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    placed = await stage.place("tok_lost_answer")
    await stage.ended(placed)
    await stage.settled(placed, payment="CHARGED", reservation="SHIPPED")


SCENARIO = Scenario(
    name="lost-answer",
    title="The card was charged, but the answer never came",
    does=("It places an order with a card that is charged, after which the network hangs up without an answer.",),
    question="Payment does not know whether the card was charged. What does it do?",
    choices=(
        Choice(
            "It charges again, and hopes that the first one failed.",
            lambda seen: seen.count("GET /charges/{key}") == 0,
        ),
        Choice(
            "It gives up: the order is rejected.",
            lambda seen: seen.order.status == "REJECTED",
        ),
        Choice(
            "It asks the network what became of the key, and books the answer: charged once.",
            lambda seen: seen.order.status == "CONFIRMED" and seen.count("GET /charges/{key}") > 0,
        ),
    ),
    shown_by=("card-network", "GET /charges/{key}"),
    lesson="No answer means unknown, never no. The payment's id is the idempotency key, so asking is always safe.",
    play=play,
    told=(*CONFIRMED, ("payment", "charge card"), ("card-network", "GET /charges/{key}")),
)
