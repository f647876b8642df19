"""Refunds, above all those that meet a charge on its way."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from shop.order.v1.order_events_pb2 import OrderPlaced
from shop.payment.v1.payment_pb2 import Payment

from chassis.database import Database
from services.payment.__main__ import REFUNDS
from services.payment.card_network import CardNetwork
from services.payment.tests.driver import PRICE, Driver
from services.payment.tests.network import Network
from services.payment.verdict import Answer

REFUNDED = [
    ("charge", "card_network", PRICE),
    ("charge", "customer_payments", -PRICE),
    ("refund", "card_network", -PRICE),
    ("refund", "customer_payments", PRICE),
]


async def test_a_charged_payment_is_refunded(driver: Driver, network: Network, order_id: str) -> None:
    """Given back at the network first, then in the ledger, and then said."""
    payment = await driver.charge(order_id)
    await driver.settle(order_id)
    await driver.refund(order_id)
    assert await driver.settle(order_id) == 1
    assert (await driver.get(order_id)).state == Payment.REFUNDED
    assert await driver.entries(order_id) == REFUNDED
    assert await driver.told(order_id) == ["PaymentCharged", "PaymentRefunded"]
    assert await network.kept(payment.payment_id) == 0


async def test_an_intent_nobody_has_worked_on_is_voided(driver: Driver, network: Network, order_id: str) -> None:
    """The network gets a tombstone for a payment it never heard of, so that a late charge takes nothing."""
    payment = await driver.charge(order_id)
    await driver.refund(order_id)
    assert await driver.settle(order_id) == 1
    assert (await driver.get(order_id)).state == Payment.VOIDED
    assert await driver.told(order_id) == ["PaymentVoided"]
    late = await network.charge(payment.payment_id, PRICE, "tok_visa")
    assert late.json()["state"] == "VOIDED"
    assert await network.kept(payment.payment_id) == 0


async def test_an_open_charge_is_resolved_before_it_is_refunded(
    driver: Driver, network: Network, order_id: str
) -> None:
    """The network had taken the money: that is recorded and said, and then it is given back."""
    payment = await driver.charge(order_id, "tok_lost_answer")
    await driver.attempt(order_id)
    await driver.refund(order_id)
    assert await driver.settle(order_id) == 1
    assert await driver.entries(order_id) == REFUNDED
    assert await driver.told(order_id) == ["PaymentCharged", "PaymentRefunded"]
    assert await network.kept(payment.payment_id) == 0


async def test_an_open_charge_that_was_declined_ends_in_the_refunds_event(
    driver: Driver, network: Network, order_id: str
) -> None:
    """Whoever wished for the refund does not take a decline for an answer."""
    payment = await driver.charge(order_id, "tok_declined")
    await network.charge(payment.payment_id, PRICE, "tok_declined")
    await driver.refund(order_id)
    await driver.settle(order_id)
    assert (await driver.get(order_id)).state == Payment.VOIDED
    assert await driver.told(order_id) == ["PaymentDeclined", "PaymentVoided"]
    assert await driver.entries(order_id) == []


async def test_a_refund_meets_a_charge_in_flight(driver: Driver, network: Network, order_id: str) -> None:
    """The charge is under way, and the network does not know it yet: the refund's tombstone is first."""
    payment = await driver.charge(order_id, "tok_slow")
    row = await driver.claim(order_id)
    assert row is not None
    in_flight = asyncio.create_task(driver.work(row))
    await driver.refund(order_id)
    # The wish does not wait for the lease of the charge.
    wish = await driver.claim(order_id)
    assert wish is not None
    await driver.work(wish)
    assert not in_flight.done()
    assert (await driver.get(order_id)).state == Payment.VOIDED
    await in_flight
    assert (await driver.get(order_id)).state == Payment.VOIDED
    assert await driver.told(order_id) == ["PaymentVoided"]
    assert await driver.entries(order_id) == []
    assert await network.kept(payment.payment_id) == 0


async def test_a_charge_lands_between_asking_and_voiding(
    driver: Driver, network: Network, database: Database, order_id: str
) -> None:
    """Unknown when asked, charged when voided: the money came and went, and the ledger says both."""

    class Interrupted(CardNetwork):
        """The earlier attempt's call arrives after the question."""

        async def find(self, payment_id: UUID) -> Answer | None:
            answer = await super().find(payment_id)
            await network.charge(payment_id, PRICE, "tok_visa")
            return answer

    interrupted = Interrupted(network.url, timeout_seconds=5, connections_max=2)
    payment = await driver.charge(order_id)
    await driver.refund(order_id)
    await Driver(database, interrupted).settle(order_id)
    await interrupted.close()
    assert await driver.entries(order_id) == REFUNDED
    assert await driver.told(order_id) == ["PaymentRefunded"]
    assert await network.kept(payment.payment_id) == 0


async def test_a_refund_waits_until_the_network_answers(impatient: Driver, network: Network, order_id: str) -> None:
    """As long as the network is silent nobody is told anything; when it speaks the money comes back."""
    payment = await impatient.charge(order_id, "tok_silent")
    await impatient.attempt(order_id)
    await impatient.refund(order_id)
    await impatient.attempt(order_id)
    assert await impatient.told(order_id) == []
    assert (await impatient.get(order_id)).refund_pending
    await impatient.settle(order_id)
    assert await impatient.told(order_id) == ["PaymentCharged", "PaymentRefunded"]
    assert await network.kept(payment.payment_id) == 0


async def test_a_refund_survives_the_network(
    database: Database, own_network: Network, client: Callable[..., CardNetwork], order_id: str
) -> None:
    """The wish is a row: a network that is down is asked again when it is back."""
    driver = Driver(database, client(own_network.url))
    payment = await driver.charge(order_id)
    await driver.settle(order_id)
    own_network.kill()
    await driver.refund(order_id)
    await driver.attempt(order_id)
    assert (await driver.get(order_id)).refund_pending
    await own_network.start()
    await driver.settle(order_id)
    assert (await driver.get(order_id)).state == Payment.REFUNDED
    assert await own_network.kept(payment.payment_id) == 0


def test_every_event_of_an_order_is_handled_or_ignored_on_purpose() -> None:
    """An event that order publishes and this table forgets would be poison."""
    assert REFUNDS.topics == ("order.events",)
    handled = {event.DESCRIPTOR.full_name for event in (*REFUNDS.handlers, *REFUNDS.ignored)}
    assert handled == {event.full_name for event in OrderPlaced.DESCRIPTOR.file.message_types_by_name.values()}
