"""The spans that come last in a trace, by what they say, and those whose number is chance.

A trace that has the last ones has told everything.
"""

from scenarios.scenario import Spans


def sent(*events: str) -> Spans:
    """The events, such as `inventory.StockReserved`, are on Kafka."""
    split = (event.split(".") for event in events)
    return tuple((service, f"send {service}.events {name}") for service, name in split)


def processed(service: str, *events: str) -> Spans:
    """A service has applied the events."""
    split = (event.split(".") for event in events)
    return tuple((service, f"process {source}.events {name}") for source, name in split)


RESERVED = sent("order.OrderPlaced", "inventory.StockReserved") + processed("order", "inventory.StockReserved")
CHARGED = (
    sent("payment.PaymentCharged")
    + processed("order", "payment.PaymentCharged")
    + (("payment", "charge card"), ("card-network", "POST /charges"))
)
CONFIRMED = RESERVED + CHARGED + sent("order.OrderConfirmed") + processed("inventory", "order.OrderConfirmed")
RELEASED = sent("inventory.StockReleased") + processed("order", "inventory.StockReleased")
REJECTED = sent("order.OrderRejected")
CANCELLED = (
    sent("order.OrderCancelled")
    + processed("payment", "order.OrderCancelled")
    + processed("inventory", "order.OrderCancelled")
)
REFUNDED = (
    sent("payment.PaymentRefunded")
    + processed("order", "payment.PaymentRefunded")
    + (("payment", "void charge"), ("card-network", "POST /charges/{key}/void"))
)
VOIDED = (
    sent("payment.PaymentVoided")
    + processed("order", "payment.PaymentVoided")
    + (("payment", "void charge"), ("card-network", "POST /charges/{key}/void"))
)
# The charge's deadline has passed, and the money that was taken all the same is given back.
TURNED_BACK = (*RESERVED, *CHARGED, *REFUNDED, *RELEASED, *REJECTED, ("order", "saga deadline"))

# Names of spans that repeat by chance while the card network does not answer.
UNANSWERED = ("charge card", "void charge", "saga refund_payment", "saga deadline", "GET /charges/{key}")
