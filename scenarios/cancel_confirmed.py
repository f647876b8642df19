"""The customer cancels after the goods have left: no saga any more, those who hold something give it back."""

from scenarios.ends import CANCELLED, CONFIRMED, REFUNDED, processed, sent
from scenarios.scenario import BEANS, Choice, Scenario, Stage


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    placed = await stage.place()
    await stage.ended(placed)
    await stage.settled(placed, reservation="SHIPPED")
    await stage.cancel(placed)
    await stage.settled(placed, payment="REFUNDED", reservation="RETURNED")
    await stage.heard(placed, "PaymentRefunded")
    await stage.heard(placed, "StockReturned")


SCENARIO = Scenario(
    name="cancel-confirmed",
    title="The customer cancels a confirmed order",
    does=("It places an order, waits until the goods have left, and cancels it.",),
    question="The saga has ended when the customer cancels. Who gives money and goods back?",
    choices=(
        Choice(
            "A second saga: it sends RefundPayment, then ReleaseStock.",
            lambda seen: seen.count("saga refund_payment") > 0,
        ),
        Choice(
            "Payment and inventory themselves: both hear OrderCancelled, and undo their own part (choreography).",
            lambda seen: (
                seen.order.status == "CANCELLED"
                and seen.order.payment["state"] == "REFUNDED"
                and seen.count("saga refund_payment") == 0
            ),
        ),
        Choice(
            "Nobody: a confirmed order cannot be cancelled.",
            lambda seen: seen.order.status == "CONFIRMED",
        ),
    ),
    shown_by=("order", "cancel confirmed order"),
    lesson="Two styles in one shop: a saga where steps depend on each other, choreography where nobody waits.",
    play=play,
    told=CONFIRMED
    + CANCELLED
    + REFUNDED
    + sent("inventory.StockReturned")
    + processed("order", "inventory.StockReturned")
    + (("order", "saga heard PaymentRefunded"), ("order", "saga heard StockReturned")),
    any_order=("saga heard PaymentRefunded", "saga heard StockReturned"),
)
