"""A client sends its POST twice, under one key: there is one order."""

from uuid import uuid4

from scenarios.ends import CONFIRMED
from scenarios.scenario import BEANS, Choice, Scenario, Stage


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    key = str(uuid4())
    first = await stage.place(key=key)
    await stage.ended(first)
    second = await stage.place(key=key)
    stage.note("a second order", second.order_id != first.order_id)
    await stage.settled(first, reservation="SHIPPED")
    stage.shows(
        "the repeated POST",
        first.order_id,
        "POST /v1/orders",
        "gateway",
        (("order", "shop.order.v1.OrderService/PlaceOrder"), ("order", "SELECT orders")),
    )


SCENARIO = Scenario(
    name="repeated-post",
    title="A client repeats its POST",
    does=("It places an order, and sends the same POST again with the same Idempotency-Key, as after a lost answer.",),
    question="The same POST comes twice. What does the second one get?",
    choices=(
        Choice(
            "202 with a second order.",
            lambda seen: seen.notes["a second order"],
        ),
        Choice(
            "409: this order exists.",
            lambda seen: "a second order" not in seen.notes,
        ),
        Choice(
            "202 with the first order, as it was answered the first time; nothing is done twice.",
            lambda seen: not seen.notes["a second order"] and len(seen.order.payment["ledgerEntries"]) == 2,
        ),
    ),
    shown_by=("order", "shop.order.v1.OrderService/PlaceOrder"),
    lesson="The key is stored in the transaction that places the order; the repeat's small trace links to the first.",
    shown_last=True,
    play=play,
    told=CONFIRMED,
)
