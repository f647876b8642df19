"""Routing: a handled type comes with its handler, an ignored one is known, anything else is poison."""

import contextlib
import dataclasses

import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, Int64Value, StringValue
from hypothesis import given, strategies
from shop.inventory.v1.inventory_events_pb2 import StockReleased, StockReserved

from chassis.database import Transaction
from chassis.messages import Envelope, Poison
from chassis.router import Subscription
from chassis.tests.surroundings import event, note_effect

SUBSCRIPTION = Subscription("g", ("t",), {Int64Value: note_effect}, ignored=(BoolValue,))


def test_a_handled_type_comes_decoded_with_its_handler() -> None:
    """The table of handlers is the whole routing."""
    message, handler = SUBSCRIPTION.route(event("a", 5))
    assert message == Int64Value(value=5)
    assert handler is note_effect


def test_only_what_is_declared_is_ignored() -> None:
    """An event that nobody expected must be seen, not lost."""
    assert SUBSCRIPTION.ignores(event("a", 1, BoolValue()))
    assert not SUBSCRIPTION.ignores(event("a", 1))
    assert not SUBSCRIPTION.ignores(event("a", 1, StringValue()))


def test_an_unknown_type_is_poison() -> None:
    """The dead letter's reason names the type."""
    with pytest.raises(Poison, match=r"unknown type google.protobuf.StringValue"):
        SUBSCRIPTION.route(event("a", 1, StringValue()))


def test_an_undecodable_payload_is_poison() -> None:
    """The dead letter's reason names the type that the payload is not of."""
    broken = dataclasses.replace(event("a", 1), payload=b"\x08")
    with pytest.raises(Poison, match=r"google.protobuf.Int64Value does not decode"):
        SUBSCRIPTION.route(broken)


@given(strategies.binary())
def test_whatever_the_payload_it_is_a_message_or_poison(payload: bytes) -> None:
    """No payload is a fault that would be retried."""
    with contextlib.suppress(Poison):
        message, _ = SUBSCRIPTION.route(dataclasses.replace(event("a", 1), payload=payload))
        assert isinstance(message, Message)


ORDER_ID, OTHER_ID = "0198c0de-0000-7000-8000-00000000000a", "0198c0de-0000-7000-8000-00000000000b"
OF_ORDERS = Subscription("g", ("t",), {StockReleased: note_effect}, ignored=(StockReserved,))


def read(envelope: Envelope) -> object:
    """As a consumer does it."""
    return None if OF_ORDERS.ignores(envelope) else OF_ORDERS.route(envelope)


@pytest.mark.parametrize("kind", [StockReleased, StockReserved])
def test_an_event_about_two_orders_is_poison(kind: type[Message]) -> None:
    """It would change one, and be traced and kept in order as the other; a type that is ignored is no exception."""
    assert OF_ORDERS.route(event(ORDER_ID, 1, StockReleased(order_id=ORDER_ID)))[1] is note_effect
    assert OF_ORDERS.ignores(event(ORDER_ID, 1, StockReserved(order_id=ORDER_ID)))
    for named in (OTHER_ID, ORDER_ID.upper(), f"{ORDER_ID} ", ""):
        with pytest.raises(Poison, match=r"ce_subject .* is another order than order_id .* in the payload"):
            read(event(ORDER_ID, 1, kind(order_id=named)))
        if named:
            with pytest.raises(Poison, match=r"ce_subject .* is another order than order_id .* in the payload"):
                read(event(named, 1, kind(order_id=ORDER_ID)))


@pytest.mark.parametrize("kind", [StockReleased, StockReserved])
@pytest.mark.parametrize(
    "order_id",
    [
        ORDER_ID.upper(),
        f"urn:uuid:{ORDER_ID}",
        f"{{{ORDER_ID}}}",
        ORDER_ID.replace("-", ""),
        f" {ORDER_ID}",
        f"{ORDER_ID}\n",
        "order-1",
    ],
)
def test_an_order_s_id_in_another_spelling_is_poison(kind: type[Message], order_id: str) -> None:
    """Subject and payload agree, and yet it would be another order than the one that everybody else means."""
    with pytest.raises(Poison, match=r"order_id .* in the payload is not a UUID"):
        read(event(order_id, 1, kind(order_id=order_id)))


def test_an_ignored_event_that_does_not_decode_is_poison() -> None:
    """That nothing would be done about it does not make it an event."""
    broken = dataclasses.replace(event(ORDER_ID, 1, StockReserved(order_id=ORDER_ID)), payload=b"\x08")
    with pytest.raises(Poison, match=r"StockReserved does not decode"):
        OF_ORDERS.ignores(broken)


def test_two_groups_do_not_share_their_routes() -> None:
    """A table belongs to one subscription."""

    async def other(transaction: Transaction, message: Int64Value, envelope: Envelope) -> None: ...

    assert Subscription("h", ("t",), {Int64Value: other}).route(event("a"))[1] is other
    assert SUBSCRIPTION.route(event("a"))[1] is note_effect
