"""What the commands and the event write, before any card network is asked."""

import asyncio

import pytest
from shop.payment.v1.payment_events_pb2 import PaymentCharged, PaymentVoided
from shop.payment.v1.payment_pb2 import Payment
from uuid_utils.compat import uuid7

from chassis.errors import NotFound, WrongState
from services.payment.handlers import payment_id
from services.payment.tests.driver import PRICE, Driver


async def test_charging_writes_an_intent_and_answers(driver: Driver, order_id: str) -> None:
    """The answer says that the charge will be made, not that it was."""
    payment = await driver.charge(order_id)
    assert (payment.state, payment.amount.amount_minor) == (Payment.CHARGING, PRICE)
    assert (await driver.row(order_id)).card_token == "tok_visa"
    assert await driver.told(order_id) == []


async def test_a_repeated_charge_finds_the_intent(driver: Driver, order_id: str) -> None:
    """One payment for an order, and nothing to tell as long as it is open."""
    payments = [await driver.charge(order_id) for _ in range(3)]
    assert len({payment.payment_id for payment in payments}) == 1
    assert await driver.told(order_id) == []


async def test_twenty_charges_at_once_are_one_payment(driver: Driver, order_id: str) -> None:
    """However the commands race, they find the same payment."""
    payments = await asyncio.gather(*(driver.charge(order_id) for _ in range(20)))
    assert len({payment.payment_id for payment in payments}) == 1


async def test_a_repeated_charge_has_its_outcome_published_again(driver: Driver, order_id: str) -> None:
    """Under its original id, so that whoever has heard it ignores it."""
    await driver.charge(order_id)
    await driver.settle(order_id)
    [charged] = await driver.outbox(order_id)
    await driver.relayed(order_id)
    assert (await driver.charge(order_id)).state == Payment.CHARGED
    assert await driver.outbox(order_id) == [charged]
    assert charged.waits
    assert isinstance(charged.event, PaymentCharged)


async def test_a_charge_over_another_amount_is_refused(driver: Driver, order_id: str) -> None:
    """Neither amount is taken for the right one; the first stays."""
    await driver.charge(order_id)
    with pytest.raises(WrongState):
        await driver.charge(order_id, amount_minor=PRICE + 1)
    assert (await driver.get(order_id)).amount.amount_minor == PRICE


async def test_an_order_without_payment_is_not_found(driver: Driver, order_id: str) -> None:
    """A query writes no tombstone."""
    with pytest.raises(NotFound):
        await driver.get(order_id)


async def test_a_refund_before_its_charge_leaves_a_tombstone(driver: Driver, order_id: str) -> None:
    """It is said to be undone once the network has voided; the late charge takes nothing and hears the same."""
    refunded = await driver.refund(order_id)
    assert (refunded.state, refunded.refund_pending) == (Payment.CHARGING, True)
    assert not refunded.HasField("amount")
    assert (await driver.charge(order_id)).payment_id == refunded.payment_id
    assert await driver.told(order_id) == []
    assert await driver.settle(order_id) == 1
    [voided] = await driver.outbox(order_id)
    assert isinstance(voided.event, PaymentVoided)
    await driver.relayed(order_id)
    late = await driver.charge(order_id)
    assert (late.state, late.payment_id) == (Payment.VOIDED, refunded.payment_id)
    assert await driver.outbox(order_id) == [voided]
    assert not await driver.attempt(order_id)


async def test_a_charge_and_a_refund_at_once_end_in_one_of_two_ways(driver: Driver) -> None:
    """Tombstone or wish, whichever came first; never an open payment that nobody wants back."""
    for _ in range(10):
        order_id = str(uuid7())
        await asyncio.gather(driver.charge(order_id), driver.refund(order_id), driver.charge(order_id))
        await driver.settle(order_id)
        assert (await driver.get(order_id)).state == Payment.VOIDED
        assert await driver.told(order_id) == ["PaymentVoided"]
        assert await driver.entries(order_id) == []


async def test_refunding_writes_a_wish_and_answers(driver: Driver, order_id: str) -> None:
    """Nothing is said to be refunded before the network says so."""
    await driver.charge(order_id)
    await driver.settle(order_id)
    payment = await driver.refund(order_id)
    assert (payment.state, payment.refund_pending) == (Payment.CHARGED, True)
    assert await driver.told(order_id) == ["PaymentCharged"]


async def test_refunding_a_declined_payment_ends_in_its_event(driver: Driver, order_id: str) -> None:
    """There is nothing to give back, and whoever asked hears that."""
    await driver.charge(order_id, "tok_declined")
    await driver.settle(order_id)
    assert (await driver.refund(order_id)).state == Payment.VOIDED
    assert await driver.told(order_id) == ["PaymentDeclined", "PaymentVoided"]


@pytest.mark.parametrize("card_token", ["tok_visa", "tok_declined", None])
async def test_a_repeated_refund_has_its_outcome_published_again(
    driver: Driver, order_id: str, card_token: str | None
) -> None:
    """Refunded, voided or entombed: the last event once more, under its original id."""
    if card_token is not None:
        await driver.charge(order_id, card_token)
        await driver.settle(order_id)
    await driver.refund(order_id)
    await driver.settle(order_id)
    before = await driver.outbox(order_id)
    await driver.relayed(order_id)
    await driver.refund(order_id)
    after = await driver.outbox(order_id)
    assert [told.id for told in after] == [told.id for told in before]
    assert [told.waits for told in after] == [False] * (len(after) - 1) + [True]


async def test_cancelling_an_order_refunds_what_was_charged(driver: Driver, order_id: str) -> None:
    """A repeated event, be it under a new id, does nothing more."""
    await driver.charge(order_id)
    await driver.settle(order_id)
    event_id = uuid7()
    for _ in range(2):
        await driver.cancelled(order_id, event_id)
    await driver.cancelled(order_id)
    assert (await driver.get(order_id)).refund_pending
    await driver.settle(order_id)
    await driver.cancelled(order_id)
    assert not await driver.attempt(order_id)
    assert await driver.told(order_id) == ["PaymentCharged", "PaymentRefunded"]


async def test_cancelling_an_order_undoes_nothing_twice(driver: Driver, order_id: str) -> None:
    """A saga that was cancelled while pending has undone its payment already."""
    await driver.refund(order_id)
    await driver.settle(order_id)
    await driver.cancelled(order_id)
    assert not await driver.attempt(order_id)
    assert await driver.told(order_id) == ["PaymentVoided"]
    declined = str(uuid7())
    await driver.charge(declined, "tok_declined")
    await driver.settle(declined)
    await driver.cancelled(declined)
    assert (await driver.get(declined)).state == Payment.DECLINED
    assert await driver.told(declined) == ["PaymentDeclined"]


async def test_a_payment_has_the_id_that_follows_from_its_order(driver: Driver, order_id: str) -> None:
    """Whichever command comes first, and whatever a database has lost, the network's key is the same; for ever."""
    other = str(uuid7())
    assert (await driver.charge(order_id)).payment_id == str(payment_id(order_id))
    assert (await driver.refund(other)).payment_id == str(payment_id(other)) != str(payment_id(order_id))
    assert str(payment_id("0198d8c4-7f3a-7c21-9b5e-2f6d0c4b8a17")) == "f688c18f-cbce-5e13-a014-317dde90093c"
