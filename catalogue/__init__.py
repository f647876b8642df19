"""What the shop is made of, as data: names, ports, topics, and the settings that fit each other."""

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
