"""An order goes well: stock is reserved, the card charged, the goods leave."""

from scenarios.ends import CONFIRMED
from scenarios.scenario import BEANS, Choice, Scenario, Stage


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    placed = await stage.place()
    await stage.ended(placed)
    await stage.settled(placed, payment="CHARGED", reservation="SHIPPED")


SCENARIO = Scenario(
    name="confirmed",
    title="An order goes well",
    does=("It places an order for 2 espresso-beans with a good card, and follows it until the goods leave.",),
    question="The POST answers 202 before stock is reserved and the card is charged. Who carries the order on?",
    choices=(
        Choice(
            "The order service calls inventory and payment, and confirms when both calls have answered.",
            lambda seen: seen.order.status == "CONFIRMED" and seen.order.happened("PaymentCharged") == 0,
        ),
        Choice(
            "Its saga sends a command, waits for the event that tells the outcome, and only then takes the next step.",
            lambda seen: (
                seen.order.events[-3:-1] == ("StockReserved", "PaymentCharged")
                and seen.count("saga heard PaymentCharged") == 1
            ),
        ),
        Choice(
            "The client: it has to poll, and to ask for each step.",
            lambda seen: seen.order.status == "PENDING",
        ),
    ),
    shown_by=("order", "saga heard PaymentCharged"),
    lesson="gRPC says what we ask, Kafka says what happened: the saga moves on events alone, so nothing can disagree.",
    play=play,
    told=CONFIRMED,
)
