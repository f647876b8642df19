"""The inventory service: what it serves and what it hears."""

from collections.abc import Mapping
from pathlib import Path

from shop.inventory.v1.inventory_service_pb2_grpc import add_InventoryServiceServicer_to_server
from shop.order.v1.order_events_pb2 import OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected

from chassis import process
from chassis.gauges import COUNTED_MAX, Figure, backlog
from chassis.process import Process
from chassis.router import Subscription
from chassis.service import Service
from services.inventory import handlers
from services.inventory.servicer import InventoryServicer
from services.inventory.settings import InventorySettings

MIGRATIONS = Path(__file__).parent / "migrations"

# What is reserved for an order is settled by what becomes of the order.
SHIPPING = Subscription(
    group="inventory.shipping",
    topics=("order.events",),
    handlers={
        OrderConfirmed: handlers.ship_reservation,
        OrderCancelled: handlers.take_back,
    },
    # A rejected order's saga has released its stock by command before it says so.
    ignored=(OrderPlaced, OrderRejected),
)

# By the articles' index: one on what is held would have to be written with every reservation.
_HELD = f"SELECT coalesce(sum(held), 0) FROM (SELECT held FROM stock ORDER BY sku LIMIT {COUNTED_MAX}) AS counted"  # noqa: S608 - the number is ours
_HELD_TOO_LONG = """
    FROM reservations WHERE state = 'HELD' AND created_at < statement_timestamp() - make_interval(secs => :seconds)
    ORDER BY created_at
"""


def figures(settings: InventorySettings) -> Mapping[str, Figure]:
    """What /metrics says of the inventory service beside what it says of each."""
    seconds = settings.held_seconds_max
    return {
        "shop.stock.held": Figure(
            _HELD, f"Pieces that are reserved and not shipped yet, of the first {COUNTED_MAX:,} articles."
        ),
        "shop.reservations.held_too_long": backlog(
            f"Reservations that have held stock for more than {seconds:g} s, longer than any order takes",
            _HELD_TOO_LONG,
            seconds=seconds,
        ),
    }


async def main(settings: InventorySettings, shared: Process) -> None:
    """Put the service together and run it."""
    service = Service("inventory", settings, shared, MIGRATIONS)
    service.serve(
        "shop.inventory.v1.InventoryService",
        add_InventoryServiceServicer_to_server,
        InventoryServicer(service.database),
    )
    service.subscribe(SHIPPING)
    service.measure(figures(settings))
    await service.run()


if __name__ == "__main__":
    process.run("inventory", InventorySettings, main)
