"""Ten customers want the last piece: one gets it, nine hear that it is gone."""

import asyncio
from collections import Counter

from scenarios.ends import CONFIRMED, REJECTED, processed, sent
from scenarios.scenario import Choice, Scenario, Stage

LAST_ONE = "last-one"
CUSTOMERS = 10


async def play(stage: Stage) -> None:
    await stage.stocked(LAST_ONE, 1)
    left = await stage.available(LAST_ONE)
    stage.say(f"{CUSTOMERS} orders at the same time, each for all that is left of {LAST_ONE}: {left}")
    orders = await asyncio.gather(*(stage.place(sku=LAST_ONE, quantity=left, follow=False) for _ in range(CUSTOMERS)))
    await asyncio.gather(*(stage.ended(order) for order in orders))
    by_status = {stage.status(order): order for order in orders}
    counts = Counter(map(stage.status, orders))
    stage.say(f"they have ended: {', '.join(f'{count} {status}' for status, count in sorted(counts.items()))}")
    post = ("POST /v1/orders", "gateway")
    if winner := by_status.get("CONFIRMED"):
        await stage.settled(winner, reservation="SHIPPED")
        stage.shows("the order that got it", winner.order_id, *post, CONFIRMED)
    if loser := by_status.get("REJECTED"):
        refused = sent("inventory.ReservationRefused") + processed("order", "inventory.ReservationRefused") + REJECTED
        stage.shows("an order that came too late", loser.order_id, *post, refused)


def confirmed(statuses: list[str]) -> int:
    return statuses.count("CONFIRMED")


SCENARIO = Scenario(
    name="last-one-race",
    title="Ten customers want the last one",
    does=(f"It places {CUSTOMERS} orders at the same time for the last piece of an article.",),
    question="Ten orders arrive within milliseconds. How many are confirmed?",
    choices=(
        Choice(
            "One: the row of the article decides, under its lock; the others hear OUT_OF_STOCK.",
            lambda seen: confirmed([order.status for order in seen.orders]) == 1,
        ),
        Choice(
            "Maybe two or three: they all read that one is left before any of them writes.",
            lambda seen: confirmed([order.status for order in seen.orders]) > 1,
        ),
        Choice(
            "None: they wait for each other, and all time out.",
            lambda seen: confirmed([order.status for order in seen.orders]) == 0,
        ),
    ),
    shown_by=("order", "saga heard ReservationRefused"),
    lesson="`available ≥ n` is judged in the statement that takes it, under the row's lock: no reading before writing.",
    play=play,
    told=(),
)
