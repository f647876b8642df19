"""Two replicas of each service: they share commands and partitions, and one relay sends at a time."""

import asyncio

from scenarios.ends import CONFIRMED
from scenarios.scenario import BEANS, Choice, Scenario, Stage

ORDERS = 24


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2 * ORDERS)
    async with stage.replicas(order=2, inventory=2):
        stage.say(f"{ORDERS} orders")
        orders = await asyncio.gather(*(stage.place(follow=False) for _ in range(ORDERS)))
        await asyncio.gather(*(stage.ended(order, within_seconds=30) for order in orders))
        await asyncio.gather(*(stage.settled(order, reservation="SHIPPED") for order in orders))
        workers = await asyncio.gather(*(stage.workers(order, "inventory", CONFIRMED) for order in orders))
        stage.note("inventories", len(set().union(*workers)))


SCENARIO = Scenario(
    name="replicas",
    title="Two replicas share the work",
    does=(f"It starts a second replica of order and of inventory, and places {ORDERS} orders.",),
    question="Two replicas of inventory run. What does the second one do?",
    choices=(
        Choice(
            "It stands by, and takes over when the first one dies.",
            lambda seen: seen.notes["inventories"] == 1,
        ),
        Choice(
            "It does everything once more: each order is reserved twice.",
            lambda seen: seen.stock[BEANS] < -2 * ORDERS,
        ),
        Choice(
            "It takes its share: calls are spread over both, and each reads its own partitions.",
            lambda seen: seen.notes["inventories"] == 2 and seen.stock[BEANS] == -2 * ORDERS,
        ),
    ),
    shown_by=("inventory", "shop.inventory.v1.InventoryService/ReserveStock"),
    lesson="Replicas share by rows, by partitions and by connections; only the relay's lease has one holder at a time.",
    play=play,
    told=CONFIRMED,
    slack_seconds=15.0,
    # Partitions move when a replica comes: what was handled but not committed yet is delivered once more.
    sometimes=(
        ("process inventory.events StockReserved", "inbox=duplicate"),
        ("process payment.events PaymentCharged", "inbox=duplicate"),
        ("process order.events OrderConfirmed", "inbox=duplicate"),
    ),
    containers_only="its Kafka is a mock broker, whose groups have one member.",
)
