"""What the shop is made of, as data: names, ports, topics, who hears what, and the settings that fit each other."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """One of the three services; `rpc` is the full name of its gRPC service, and its database has its name."""

    name: str
    rpc: str
    grpc_port: int
    topic: str


SERVICES = (
    Service("order", "shop.order.v1.OrderService", 50051, "order.events"),
    Service("payment", "shop.payment.v1.PaymentService", 50052, "payment.events"),
    Service("inventory", "shop.inventory.v1.InventoryService", 50053, "inventory.events"),
)
SERVICE = {service.name: service for service in SERVICES}
TOPICS = tuple(service.topic for service in SERVICES)
# What a topic's dead letters are called.
DEAD = ".dead"

# Every part of a running system, in the order of an order's way; the embedded system calls kafka `broker` and jaeger
# `traces`.
PARTS = ("gateway", "order", "payment", "inventory", "card-network", "kafka", "postgres", "jaeger")

# Which consumer groups do something about an event, by its full name; about any other nobody has to do anything.
HEARD_BY: dict[str, tuple[str, ...]] = {
    "shop.order.v1.OrderPlaced": (),
    "shop.order.v1.OrderRejected": (),
    "shop.inventory.v1.StockReserved": ("order.saga",),
    "shop.inventory.v1.ReservationRefused": ("order.saga",),
    "shop.inventory.v1.StockReleased": ("order.saga",),
    "shop.inventory.v1.StockReturned": ("order.saga",),
    "shop.payment.v1.PaymentCharged": ("order.saga",),
    "shop.payment.v1.PaymentDeclined": ("order.saga",),
    "shop.payment.v1.PaymentRefunded": ("order.saga",),
    "shop.payment.v1.PaymentVoided": ("order.saga",),
    "shop.order.v1.OrderConfirmed": ("inventory.shipping",),
    "shop.order.v1.OrderCancelled": ("inventory.shipping", "payment.refunds"),
}

# What is done for an order, and what undoes that once the order is cancelled; events by their short names.
UNDONE_BY: dict[str, tuple[str, ...]] = {
    "PaymentCharged": ("PaymentRefunded", "PaymentVoided"),
    "StockReserved": ("StockReleased", "StockReturned"),
}

# What begins a trace of its own although it is about an order that has one: the service, its span, and what it was.
LATER = (
    ("order", "shop.order.v1.OrderService/PlaceOrder", "the repeated POST"),
    ("order", "shop.order.v1.OrderService/CancelOrder", "the cancel"),
    ("order", "shop.order.v1.OrderService/RetrySaga", "the operator's retry"),
    ("inventory", "shop.inventory.v1.InventoryService/ReserveStock", "a ReserveStock by hand"),
    ("inventory", "shop.inventory.v1.InventoryService/ReleaseStock", "a ReleaseStock by hand"),
    ("payment", "shop.payment.v1.PaymentService/ChargePayment", "a ChargePayment by hand"),
    ("payment", "shop.payment.v1.PaymentService/RefundPayment", "a RefundPayment by hand"),
)

# The waits that a person or a scenario has to know, and whose settings they are; in seconds.
DEADLINES = {
    "order": (
        "RESERVE_DEADLINE_SECONDS",
        "CHARGE_DEADLINE_SECONDS",
        "COMPENSATION_RETRY_SECONDS",
        "PARK_AFTER_SECONDS",
    ),
    "payment": ("CARD_NETWORK_TIMEOUT_SECONDS",),
    "card-network": ("SILENCE_SECONDS", "SLOW_SECONDS"),
}
