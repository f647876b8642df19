"""The undoing command comes before the one that it undoes: a tombstone keeps the late command from holding anything."""

from uuid import uuid4

from scenarios.ends import processed, sent
from scenarios.scenario import BEANS, Choice, Scenario, Stage

SERVICE = "shop.inventory.v1.InventoryService"


async def play(stage: Stage) -> None:
    await stage.stocked(BEANS, 2)
    order_id = str(uuid4())
    stage.say(f"an order that nobody has placed: {order_id}")
    released = await stage.call("inventory/ReleaseStock", {"orderId": order_id})
    stage.note("first", released["state"])
    heard = sent("inventory.StockReleased") + processed("order", "inventory.StockReleased")
    await stage.told(order_id, f"{SERVICE}/ReleaseStock", "inventory", heard)
    reserved = await stage.call(
        "inventory/ReserveStock", {"orderId": order_id, "lines": [{"sku": BEANS, "quantity": 2}]}
    )
    stage.note("second", reserved["state"])
    # Its outcome is told again, in case it was lost: in the trace that it was told in first.
    stage.shows("ReleaseStock, by hand", order_id, f"{SERVICE}/ReleaseStock", "inventory", heard * 2)
    stage.shows(
        "ReserveStock, by hand",
        order_id,
        f"{SERVICE}/ReserveStock",
        "inventory",
        (("inventory", f"{SERVICE}/ReserveStock"),),
    )


SCENARIO = Scenario(
    name="undo-first",
    title="The undo comes first",
    does=("It calls ReleaseStock by hand, then ReserveStock for the same order, as if a network had swapped them.",),
    question="Nothing is reserved when the release comes. What happens when the reservation comes after it?",
    choices=(
        Choice(
            "It is refused: the release has left a tombstone, and nothing is held.",
            lambda seen: seen.notes["second"] == "RELEASED" and seen.stock[BEANS] == 0,
        ),
        Choice(
            "It holds 2 pieces, for ever: their release has been and gone.",
            lambda seen: seen.notes["second"] == "HELD",
        ),
        Choice(
            "The release fails: there is nothing to release.",
            lambda seen: seen.notes["first"] not in ("RELEASED", "HELD"),
        ),
    ),
    shown_by=("inventory", f"{SERVICE}/ReserveStock"),
    lesson="An undo must work before what it undoes: else two swapped messages take goods that nobody gives back.",
    play=play,
    told=(),
)
