"""A message comes twice: the inbox knows its id, and it is applied once."""

from scenarios.ends import CONFIRMED, processed
from scenarios.scenario import BEANS, Choice, Scenario, Stage


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    placed = await stage.place()
    await stage.ended(placed)
    await stage.settled(placed, reservation="SHIPPED")
    await stage.copied("payment.events", placed, "PaymentCharged")


SCENARIO = Scenario(
    name="duplicate-message",
    title="A message comes twice",
    does=("It places an order, and when it is confirmed sends its PaymentCharged to Kafka once more, byte for byte.",),
    question="PaymentCharged is on Kafka twice. What does the order service do with the second one?",
    choices=(
        Choice(
            "It applies it again: the timeline says twice that the card was charged.",
            lambda seen: seen.order.happened("PaymentCharged") > 1,
        ),
        Choice(
            "It has an inbox row with this id already, and passes over the message.",
            lambda seen: (
                seen.order.happened("PaymentCharged") == 1 and seen.count("process payment.events PaymentCharged") == 2
            ),
        ),
        Choice(
            "Nothing: Kafka delivers exactly once, and drops the copy.",
            lambda seen: seen.count("process payment.events PaymentCharged") == 1,
        ),
    ),
    shown_by=("order", "process payment.events PaymentCharged"),
    lesson="Brokers deliver at least once; the receiver makes it once: inbox row and effect share a transaction.",
    shown_last=True,
    play=play,
    told=CONFIRMED + processed("order", "payment.PaymentCharged"),
)
