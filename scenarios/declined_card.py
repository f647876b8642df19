"""The card is declined: the saga turns back, and the goods are released."""

from scenarios.ends import REJECTED, RELEASED, RESERVED, processed, sent
from scenarios.scenario import BEANS, Choice, Scenario, Stage


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    placed = await stage.place("tok_declined")
    await stage.ended(placed)


SCENARIO = Scenario(
    name="declined-card",
    title="The card is declined",
    does=("It places an order with a card that the network declines, after stock was reserved for it.",),
    question="The goods are held when the card is declined. Who gives them back?",
    choices=(
        Choice(
            "Inventory, by itself: it hears PaymentDeclined on Kafka.",
            lambda seen: seen.order.reservation.get("state") == "RELEASED" and seen.count("saga release_stock") == 0,
        ),
        Choice(
            "The order's saga: it turns back, and sends ReleaseStock, the compensation of ReserveStock.",
            lambda seen: seen.order.reservation.get("state") == "RELEASED" and seen.count("saga release_stock") > 0,
        ),
        Choice(
            "Nobody: they stay held until somebody pays.",
            lambda seen: seen.order.reservation.get("state") == "HELD",
        ),
    ),
    shown_by=("order", "saga heard PaymentDeclined"),
    lesson="Before the order is confirmed one place decides: the saga undoes, step by step, what it has done.",
    play=play,
    told=RESERVED
    + sent("payment.PaymentDeclined")
    + processed("order", "payment.PaymentDeclined")
    + (("payment", "charge card"), ("card-network", "POST /charges"))
    + RELEASED
    + REJECTED,
)
