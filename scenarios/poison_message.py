"""A message that cannot be read: it is buried with its reason, and the next message is handled."""

from uuid import uuid4

from scenarios.ends import CONFIRMED
from scenarios.scenario import BEANS, Choice, Scenario, Stage

TOPIC = "inventory.events"


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    event_id = str(uuid4())
    headers = {
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_type": "shop.inventory.v1.StockReserved",
        "ce_source": "inventory",
        "ce_subject": stage.customer,
        "ce_time": "2026-01-01T00:00:00+00:00",
        "ce_sequence": "1",
        "content-type": "application/protobuf",
    }
    await stage.published(TOPIC, b"\xff\xff\xff", headers, stage.customer)
    letter = await stage.dead_letter(TOPIC, event_id)
    stage.note("reason", letter["reason"])
    placed = await stage.place()
    await stage.ended(placed)
    await stage.settled(placed, reservation="SHIPPED")
    await stage.redriven(letter)
    again = await stage.dead_letter(TOPIC, event_id, copies=2)
    stage.note("dies again", again["id"] != letter["id"])


SCENARIO = Scenario(
    name="poison-message",
    title="A message that nobody can read",
    does=(
        f"It writes three bytes that are no message to {TOPIC}, and then places an order.",
        "Then it sends the dead letter back, as an operator does after a repair; here nothing was repaired.",
    ),
    question="The order service cannot read the message. What becomes of those behind it?",
    choices=(
        Choice(
            "They wait: the partition stands still until somebody removes it.",
            lambda seen: seen.order.status == "PENDING",
        ),
        Choice(
            "They are handled: it is buried in inventory.events.dead with its reason. Sent back, it dies again.",
            lambda seen: seen.order.status == "CONFIRMED" and bool(seen.notes["reason"]) and seen.notes["dies again"],
        ),
        Choice(
            "They are handled: the message is skipped, and a line in the log is all that is left of it.",
            lambda seen: seen.order.status == "CONFIRMED" and not seen.notes["reason"],
        ),
    ),
    shown_by=("order", "process inventory.events StockReserved"),
    lesson="Poison is set aside, with its reason, and nothing waits for it: `./shop dead-letters list` shows it.",
    play=play,
    told=CONFIRMED,
)
