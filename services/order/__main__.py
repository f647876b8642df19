"""The order service: what it serves, what it hears, whom it asks."""

from collections.abc import Mapping
from functools import partial, update_wrapper
from pathlib import Path

from shop.inventory.v1.inventory_events_pb2 import ReservationRefused, StockReleased, StockReserved, StockReturned
from shop.order.v1.order_service_pb2_grpc import add_OrderServiceServicer_to_server
from shop.payment.v1.payment_events_pb2 import PaymentCharged, PaymentDeclined, PaymentRefunded, PaymentVoided

from chassis import gauges, grpc_client, process
from chassis.dispatcher import Dispatcher
from chassis.gauges import Figure, backlog
from chassis.process import Process
from chassis.router import Subscription
from chassis.service import Service
from services.order import handlers, orchestrator, saga
from services.order.deadlines import Deadlines
from services.order.servicer import OrderServicer
from services.order.settings import OrderSettings
from services.order.timeline import Watchers

MIGRATIONS = Path(__file__).parent / "migrations"

# A cancelled order that was confirmed, and since when it awaits what undoes that.
_AWAITED = """
    FROM sagas WHERE {} AND undo_awaited_at < statement_timestamp() - make_interval(secs => :seconds)
    ORDER BY undo_awaited_at
"""


def figures(settings: OrderSettings) -> Mapping[str, Figure]:
    """What /metrics says of the order service beside what it says of each."""
    seconds = settings.park_after_seconds
    return {
        **gauges.COMMAND_OUTBOX,
        "shop.saga.parked": backlog(
            "Sagas that wait for a person", "FROM sagas WHERE parked_at IS NOT NULL ORDER BY step_at, order_id"
        ),
        "shop.order.refunds_unheard": backlog(
            f"Orders that were confirmed and cancelled, and whose refund was not heard of within {seconds:g} s",
            _AWAITED.format("payment_sequence <= refund_awaited_after"),
            seconds=seconds,
        ),
        "shop.order.returns_unheard": backlog(
            f"Orders that were confirmed and cancelled, and whose goods' return was not heard of within {seconds:g} s",
            _AWAITED.format("inventory_sequence <= goods_awaited_after"),
            seconds=seconds,
        ),
    }


def subscription(settings: OrderSettings) -> Subscription:
    """The saga hears what became of its commands."""
    advance_saga = update_wrapper(partial(handlers.advance_saga, settings=settings), handlers.advance_saga)
    return Subscription(
        group="order.saga",
        topics=("inventory.events", "payment.events"),
        handlers={
            StockReserved: advance_saga,
            ReservationRefused: advance_saga,
            StockReleased: advance_saga,
            StockReturned: advance_saga,
            PaymentCharged: advance_saga,
            PaymentDeclined: advance_saga,
            PaymentRefunded: advance_saga,
            PaymentVoided: advance_saga,
        },
    )


async def main(settings: OrderSettings, shared: Process) -> None:
    """Put the service together and run it."""
    orchestrator.count_from_zero()
    service = Service("order", settings, shared, MIGRATIONS)
    watchers = Watchers(service.database, shared.stopping, settings.watch_seconds_max)
    service.serve(
        "shop.order.v1.OrderService",
        add_OrderServiceServicer_to_server,
        OrderServicer(service.database, watchers, settings),
    )
    service.subscribe(subscription(settings))
    service.measure(figures(settings))
    # The dispatcher retries by itself, and its span is the call's; a retrying channel would multiply the tries.
    inventory = grpc_client.connect(settings.inventory_address, retries=False, traced=False)
    payment = grpc_client.connect(settings.payment_address, retries=False, traced=False)
    async with inventory, payment:
        dispatcher = Dispatcher(
            service.database,
            {"shop.inventory.v1.InventoryService": inventory, "shop.payment.v1.PaymentService": payment},
            partial(handlers.command_refused, settings=settings),
            decided_by=saga.react,
            stopping=shared.stopping,
        )
        deadlines = Deadlines(service.database, settings, shared.stopping)
        await service.run(dispatcher=dispatcher.run, deadlines=deadlines.run, watchers=watchers.stopped)


if __name__ == "__main__":
    process.run("order", OrderSettings, main)
