"""Rest is judged by every group that hears events, and by what undoes what; e2e/ has the shop that comes to rest."""

import pytest
from google.protobuf.message import Message
from pydantic import SecretStr
from shop.inventory.v1.inventory_events_pb2 import ReservationRefused, StockReleased, StockReserved, StockReturned
from shop.order.v1.order_events_pb2 import OrderCancelled, OrderConfirmed, OrderPlaced
from shop.payment.v1.payment_events_pb2 import PaymentCharged, PaymentDeclined, PaymentRefunded, PaymentVoided

from infra.at_rest import HEARD
from infra.owed import owed
from services.inventory.__main__ import SHIPPING
from services.order.__main__ import subscription
from services.order.settings import OrderSettings
from services.payment.__main__ import REFUNDS

NOWHERE = SecretStr("postgresql+asyncpg://nobody@127.0.0.1/nothing")


def test_every_group_is_asked_what_it_has_not_read() -> None:
    """A service that hears one topic more would otherwise be taken to be at rest while it still has to read it."""
    saga = subscription(OrderSettings(database_url=NOWHERE, database_owner_url=NOWHERE))
    assert {each.group: set(each.topics) for each in (saga, REFUNDS, SHIPPING)} == {
        group: set(topics) for group, topics in HEARD.items()
    }


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        (
            (OrderPlaced, StockReserved, PaymentCharged, OrderConfirmed, OrderCancelled),
            ["PaymentCharged", "StockReserved"],
        ),
        ((StockReserved, PaymentCharged, OrderCancelled, PaymentRefunded), ["StockReserved"]),
        ((StockReserved, PaymentCharged, OrderCancelled, StockReturned), ["PaymentCharged"]),
        ((StockReserved, PaymentCharged, OrderCancelled, StockReleased, PaymentRefunded), []),
        ((StockReserved, PaymentVoided, StockReleased, OrderCancelled), []),
        ((StockReserved, PaymentDeclined, StockReleased, OrderCancelled), []),
        ((ReservationRefused, OrderCancelled), []),
    ],
)
def test_a_cancelled_order_is_owed_what_is_not_undone(happened: tuple[type[Message], ...], expected: list[str]) -> None:
    """Money and goods each by its own event; what was refused was never done."""
    assert owed({"event": event.DESCRIPTOR.full_name} for event in happened) == expected
