"""The payment service: what it serves, what it hears, whom it calls."""

from pathlib import Path

from shop.order.v1.order_events_pb2 import OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected
from shop.payment.v1.payment_service_pb2_grpc import add_PaymentServiceServicer_to_server

from chassis import process
from chassis.gauges import age, backlog
from chassis.process import Process
from chassis.router import Subscription
from chassis.service import Service
from services.payment import handlers
from services.payment.card_network import CardNetwork
from services.payment.card_worker import CardWorker
from services.payment.servicer import PaymentServicer
from services.payment.settings import PaymentSettings

MIGRATIONS = Path(__file__).parent / "migrations"

REFUNDS = Subscription(
    group="payment.refunds",
    topics=("order.events",),
    handlers={OrderCancelled: handlers.refund_cancelled_order},
    # A rejected order's saga has refunded by command before it says so.
    ignored=(OrderPlaced, OrderConfirmed, OrderRejected),
)
_CHARGES = "FROM payments WHERE next_attempt_at IS NOT NULL AND refund_requested_at IS NULL"
_REFUNDS = "FROM payments WHERE next_attempt_at IS NOT NULL AND refund_requested_at IS NOT NULL"
GAUGES = {
    "shop.payments.open_intents": backlog("Charges that are not settled", f"{_CHARGES} ORDER BY created_at"),
    "shop.payments.open_refunds": backlog(
        "Wishes for money back that are not fulfilled", f"{_REFUNDS} ORDER BY refund_requested_at"
    ),
    "shop.payments.oldest_open_refund_age_seconds": age(
        "For how long the oldest wish for money back has waited.", "refund_requested_at", _REFUNDS
    ),
    "shop.payments.unclear": backlog(
        "Payments about which the card network says what does not fit",
        "FROM payments WHERE next_attempt_at IS NOT NULL AND unclear IS NOT NULL ORDER BY next_attempt_at",
    ),
}


async def main(settings: PaymentSettings, shared: Process) -> None:
    """Put the service together and run it."""
    service = Service("payment", settings, shared, MIGRATIONS)
    service.serve(
        "shop.payment.v1.PaymentService",
        add_PaymentServiceServicer_to_server,
        PaymentServicer(service.database),
    )
    service.subscribe(REFUNDS)
    service.measure(GAUGES)
    network = CardNetwork(
        settings.card_network_url,
        timeout_seconds=settings.card_network_timeout_seconds,
        connections_max=settings.card_worker_concurrency_max,
    )
    worker = CardWorker(
        service.database,
        network,
        stopping=shared.stopping,
        timeout_seconds=settings.card_network_timeout_seconds,
        concurrency_max=settings.card_worker_concurrency_max,
    )
    try:
        await service.run(card_worker=worker.run)
    finally:
        await network.close()


if __name__ == "__main__":
    process.run("payment", PaymentSettings, main)
