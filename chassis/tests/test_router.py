"""Routing: a handled type comes with its handler, an ignored one is known, anything else is poison."""

import contextlib
import dataclasses

import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, Int64Value, StringValue
from hypothesis import given, strategies

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


def test_two_groups_do_not_share_their_routes() -> None:
    """A table belongs to one subscription."""

    async def other(transaction: Transaction, message: Int64Value, envelope: Envelope) -> None: ...

    assert Subscription("h", ("t",), {Int64Value: other}).route(event("a"))[1] is other
    assert SUBSCRIPTION.route(event("a"))[1] is note_effect
