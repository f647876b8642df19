"""A worker may die anywhere between its lease and its commit."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from shop.payment.v1.payment_pb2 import Payment

from chassis.database import Database
from services.payment.card_network import CardNetwork
from services.payment.settlement import record
from services.payment.tests.driver import PRICE, Driver
from services.payment.tests.network import Network
from services.payment.verdict import Answer, Outcome, Price, Question

EUROS = Price(PRICE, "EUR")


async def test_a_worker_died_before_its_call(driver: Driver, network: Network, order_id: str) -> None:
    """The network has not heard of the payment: it is charged."""
    payment = await driver.charge(order_id)
    assert await driver.claim(order_id) is not None
    assert await driver.settle(order_id) == 1
    assert await driver.told(order_id) == ["PaymentCharged"]
    assert await network.kept(payment.payment_id) == PRICE


@pytest.mark.parametrize(("card_token", "event"), [("tok_visa", "PaymentCharged"), ("tok_declined", "PaymentDeclined")])
async def test_a_worker_died_after_its_call(
    driver: Driver, network: Network, order_id: str, card_token: str, event: str
) -> None:
    """The network knows the payment: its answer is taken over."""
    payment = await driver.charge(order_id, card_token)
    assert await driver.claim(order_id) is not None
    await network.charge(payment.payment_id, PRICE, card_token)
    assert await driver.settle(order_id) == 1
    assert await driver.told(order_id) == [event]


async def test_a_worker_died_after_voiding(driver: Driver, network: Network, order_id: str) -> None:
    """The network has given the money back, and says so when it is asked again."""
    payment = await driver.charge(order_id)
    await driver.refund(order_id)
    await network.charge(payment.payment_id, PRICE, "tok_visa")
    lost = await driver.network.void(UUID(payment.payment_id))
    assert lost.outcome is Outcome.REFUNDED
    await driver.settle(order_id)
    assert await driver.told(order_id) == ["PaymentRefunded"]
    assert sum(amount for _, account, amount in await driver.entries(order_id) if account == "card_network") == 0


async def test_the_network_itself_is_killed(
    database: Database, own_network: Network, client: Callable[..., CardNetwork], order_id: str
) -> None:
    """It comes back with its ledger: what it had taken is found by asking, and nothing is taken twice."""
    driver = Driver(database, client(own_network.url))
    payment = await driver.charge(order_id, "tok_lost_answer")
    await driver.attempt(order_id)
    own_network.kill()
    await driver.attempt(order_id)
    assert (await driver.get(order_id)).state == Payment.CHARGING
    await own_network.start()
    await driver.settle(order_id)
    assert await driver.told(order_id) == ["PaymentCharged"]
    assert await own_network.kept(payment.payment_id) == PRICE


async def test_an_answer_is_recorded_once(driver: Driver, order_id: str) -> None:
    """However many workers bring it, and however late: one ledger posting, one event."""
    await driver.charge(order_id)
    row, answer = await driver.row(order_id), Answer(Outcome.CHARGED, EUROS)
    await asyncio.gather(*(driver.database.unit_of_work(record, row, Question.CHARGE, answer) for _ in range(8)))
    assert await driver.told(order_id) == ["PaymentCharged"]
    assert len(await driver.entries(order_id)) == 2


@pytest.mark.parametrize("question", [Question.CHARGE, Question.FIND, Question.VOID])
async def test_a_late_answer_changes_nothing(driver: Driver, order_id: str, question: Question) -> None:
    """A worker that was overtaken brings an older truth: the refund stays a refund."""
    await driver.charge(order_id)
    overtaken = await driver.row(order_id)
    await driver.settle(order_id)
    await driver.refund(order_id)
    await driver.settle(order_id)
    before = await driver.row(order_id)
    for outcome in Outcome:
        answer = Answer(outcome, EUROS)
        await driver.database.unit_of_work(record, overtaken, question, answer)
    assert await driver.row(order_id) == before
    assert (await driver.get(order_id)).state == Payment.REFUNDED
    assert await driver.told(order_id) == ["PaymentCharged", "PaymentRefunded"]


async def test_an_overtaken_worker_defers_nothing(
    database: Database, driver: Driver, network: Network, order_id: str
) -> None:
    """Its call finds no answer; before it can say so, its lease has run out and another worker has settled."""

    class Overtaken(CardNetwork):
        async def charge(self, *args: Any, **named: Any) -> Answer:
            try:
                return await super().charge(*args, **named)
            finally:
                await driver.settle(order_id)

    overtaken = Overtaken(network.url, timeout_seconds=5, connections_max=2)
    await driver.charge(order_id, "tok_lost_answer")
    assert await Driver(database, overtaken).attempt(order_id)
    await overtaken.close()
    row = await driver.row(order_id)
    assert (row.state, row.next_attempt_at, row.attempt_traceparent) == ("CHARGED", None, "")


async def test_a_network_that_forgot_a_charge_has_nothing_to_give_back(driver: Driver, order_id: str) -> None:
    """It says that nothing was ever taken: what was booked is corrected, and the payment ends."""
    await driver.charge(order_id)
    row = await driver.row(order_id)
    await driver.database.unit_of_work(record, row, Question.CHARGE, Answer(Outcome.CHARGED, EUROS))
    await driver.refund(order_id)
    assert await driver.settle(order_id) == 1
    payment = await driver.get(order_id)
    assert (payment.state, payment.refund_pending) == (Payment.VOIDED, False)
    assert await driver.told(order_id) == ["PaymentCharged", "PaymentVoided"]
    assert sum(amount for _, account, amount in await driver.entries(order_id) if account == "card_network") == 0
