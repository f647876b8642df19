"""A service hangs: calls run into their deadline, and its late work is dropped."""

from collections.abc import Mapping

from scenarios.ends import CONFIRMED
from scenarios.scenario import BEANS, Choice, Deadlines, Scenario, Stage

# Longer than the dispatcher waits for an answer, 3 s, so that at least one try runs into its deadline.
FROZEN_SECONDS = 4.5


def waits(_: Deadlines) -> Mapping[str, float]:
    return {"inventory is frozen": FROZEN_SECONDS}


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    async with stage.broken("inventory", "freeze"):
        placed = await stage.place()
        await stage.during(FROZEN_SECONDS, "inventory is frozen")
    await stage.ended(placed, within_seconds=30)
    await stage.settled(placed, payment="CHARGED", reservation="SHIPPED")


SCENARIO = Scenario(
    name="service-frozen",
    title="A service hangs",
    does=("It freezes inventory, so that it takes calls and never answers, places an order, and thaws it.",),
    question="When inventory thaws, the first call and a later try lie in its buffer. How often is stock held?",
    choices=(
        Choice(
            "Once: calls whose deadline has passed are dropped, and the order's id keeps a repeat from holding again.",
            lambda seen: seen.order.status == "CONFIRMED" and seen.stock[BEANS] == -2,
        ),
        Choice(
            "Twice: the first call and the repeat both hold it.",
            lambda seen: seen.order.status == "CONFIRMED" and seen.stock[BEANS] < -2,
        ),
        Choice(
            "Never: the order is rejected with the first deadline.",
            lambda seen: seen.order.status == "REJECTED",
        ),
    ),
    shown_by=("order", "saga reserve_stock"),
    lesson="A deadline on every call frees the caller; idempotent receivers make its repeat harmless.",
    shown_last=True,
    play=play,
    told=CONFIRMED,
    waits=waits,
    slack_seconds=15.0,
    repeats=("saga reserve_stock", "shop.inventory.v1.InventoryService/ReserveStock"),
)
