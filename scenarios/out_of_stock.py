"""More is ordered than there is: inventory says no, and nothing has to be undone."""

from scenarios.ends import REJECTED, processed, sent
from scenarios.scenario import Choice, Scenario, Stage

SOLD_OUT = "sold-out"


async def play(stage: Stage) -> None:
    placed = await stage.place(sku=SOLD_OUT, quantity=await stage.available(SOLD_OUT) + 1)
    await stage.ended(placed)


SCENARIO = Scenario(
    name="out-of-stock",
    title="There is not enough on the shelf",
    does=("It orders one more of the article `sold-out` than there is.",),
    question="Inventory cannot hold the goods. How does it say so, and what is undone?",
    choices=(
        Choice(
            "The call ReserveStock fails with an error, and is tried again until there is stock.",
            lambda seen: seen.order.status == "PENDING",
        ),
        Choice(
            "The order is rejected, and its stock and payment are given back.",
            lambda seen: seen.order.status == "REJECTED" and seen.order.happened("StockReleased") > 0,
        ),
        Choice(
            "A refusal is an answer: the call succeeds, an event says no, the order is rejected, nothing is undone.",
            lambda seen: (
                (seen.order.status, seen.order.reason) == ("REJECTED", "OUT_OF_STOCK")
                and seen.order.happened("StockReleased") == 0
                and not seen.order.payment
            ),
        ),
    ),
    shown_by=("order", "saga heard ReservationRefused"),
    lesson="A no of the domain is no failure: no span is red, no retry begins, and no compensation is needed.",
    play=play,
    told=sent("order.OrderPlaced", "inventory.ReservationRefused")
    + processed("order", "inventory.ReservationRefused")
    + REJECTED,
)
