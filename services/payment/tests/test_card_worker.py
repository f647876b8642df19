"""What each card does to a charge, with the real card network behind the worker."""

import asyncio
from collections.abc import Callable

import pytest
from shop.payment.v1.payment_events_pb2 import PaymentDeclined
from shop.payment.v1.payment_pb2 import Payment
from uuid_utils.compat import uuid7

from chassis.database import Database
from chassis.testing import eventually, planning_nested_loops
from infra.local.postgres import Postgres
from services.payment.card_network import CardNetwork
from services.payment.card_worker import CardWorker
from services.payment.tests.driver import PRICE, Driver
from services.payment.tests.network import Network

CHARGED = [("charge", "card_network", PRICE), ("charge", "customer_payments", -PRICE)]


async def test_an_accepted_card_is_charged_once(driver: Driver, network: Network, order_id: str) -> None:
    """State, ledger and event together, the network's books the same, the card forgotten."""
    payment = await driver.charge(order_id)
    assert await driver.settle(order_id) == 1
    assert (await driver.get(order_id)).state == Payment.CHARGED
    assert await driver.entries(order_id) == CHARGED
    assert await driver.told(order_id) == ["PaymentCharged"]
    assert await network.kept(payment.payment_id) == PRICE
    assert (await driver.row(order_id)).card_token is None


@pytest.mark.parametrize(
    ("card_token", "code"), [("tok_declined", "insufficient_funds"), ("tok_nobody_knows", "unknown_card")]
)
async def test_a_declined_card_pays_nothing(driver: Driver, order_id: str, card_token: str, code: str) -> None:
    """A decline is an answer: an event with its code, no ledger entry, the card forgotten."""
    await driver.charge(order_id, card_token)
    assert await driver.settle(order_id) == 1
    [told] = await driver.outbox(order_id)
    assert told.event == PaymentDeclined(
        order_id=order_id, payment_id=(await driver.get(order_id)).payment_id, decline_code=code
    )
    assert await driver.entries(order_id) == []
    assert (await driver.row(order_id)).card_token is None


async def test_a_free_order_is_charged_nothing(driver: Driver, order_id: str) -> None:
    """Zero is an amount like any other."""
    await driver.charge(order_id, amount_minor=0)
    await driver.settle(order_id)
    assert await driver.told(order_id) == ["PaymentCharged"]


async def test_a_slow_network_is_waited_for(driver: Driver, order_id: str) -> None:
    """Within the worker's patience one call is enough."""
    await driver.charge(order_id, "tok_slow")
    assert await driver.settle(order_id) == 1
    assert await driver.told(order_id) == ["PaymentCharged"]


async def test_a_network_slower_than_patience_is_asked(impatient: Driver, network: Network, order_id: str) -> None:
    """However many calls are on their way to it, the network charges once."""
    payment = await impatient.charge(order_id, "tok_slow")
    assert await impatient.settle(order_id) > 1
    assert await impatient.told(order_id) == ["PaymentCharged"]
    assert await network.kept(payment.payment_id) == PRICE


async def test_a_flaky_network_is_tried_again(driver: Driver, network: Network, order_id: str) -> None:
    """Two failures and a charge."""
    payment = await driver.charge(order_id, "tok_flaky")
    assert await driver.settle(order_id) == 3
    assert await driver.told(order_id) == ["PaymentCharged"]
    assert await network.kept(payment.payment_id) == PRICE


async def test_a_lost_answer_is_found_by_asking(driver: Driver, network: Network, order_id: str) -> None:
    """The network charged, its answer was lost: the second attempt asks, and does not charge again."""
    payment = await driver.charge(order_id, "tok_lost_answer")
    await driver.attempt(order_id)
    assert (await driver.get(order_id)).state == Payment.CHARGING
    assert await network.kept(payment.payment_id) == PRICE
    assert await driver.settle(order_id) == 1
    assert await driver.entries(order_id) == CHARGED
    assert await driver.told(order_id) == ["PaymentCharged"]


async def test_a_silent_network_is_asked_until_it_speaks(impatient: Driver, network: Network, order_id: str) -> None:
    """No answer is neither a charge nor a decline."""
    payment = await impatient.charge(order_id, "tok_silent")
    assert await impatient.settle(order_id) > 1
    assert await impatient.entries(order_id) == CHARGED
    assert await network.kept(payment.payment_id) == PRICE


async def test_an_attempt_without_answer_backs_off(driver: Driver, order_id: str) -> None:
    """The next attempt is later than now and sooner than the lease would have run out."""
    await driver.charge(order_id, "tok_lost_answer")
    await driver.attempt(order_id)
    row = await driver.row(order_id)
    waits = (row.next_attempt_at - row.created_at).total_seconds()
    assert 0 < waits < 5
    assert row.attempts == 1


async def test_two_workers_never_lease_the_same_payment(driver: Driver, order_id: str) -> None:
    """A lease hides the payment until it runs out."""
    await driver.charge(order_id)
    claims = await asyncio.gather(*(driver.claim(order_id) for _ in range(5)))
    assert len([row for row in claims if row is not None]) == 1
    await driver.expire(order_id)
    again = await driver.claim(order_id)
    assert again is not None
    assert again.attempts == 2


async def test_a_claim_takes_no_more_than_it_has_room_for_however_it_is_planned(
    postgres: Postgres, driver: Driver
) -> None:
    """A planner may read what it updates row by row, and what is due anew for each of them."""
    async with planning_nested_loops(postgres.superuser_url(), "payment"):
        for _ in range(5):
            await driver.charge(str(uuid7()))
        assert len(await driver.worker.claim(2, 0)) == 2


async def test_a_running_worker_charges_at_once(
    database: Database, network: Network, client: Callable[..., CardNetwork]
) -> None:
    """The commit of an intent wakes it; it settles many side by side and ends when the process is to stop."""
    stopping = asyncio.Event()
    worker = CardWorker(database, client(network.url), stopping=stopping, timeout_seconds=5)
    driver = Driver(database, client(network.url))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.run())
        order_ids = [str(uuid7()) for _ in range(20)]
        await asyncio.gather(*(driver.charge(order_id) for order_id in order_ids))

        async def settled() -> bool:
            return all([(await driver.get(order_id)).state == Payment.CHARGED for order_id in order_ids])

        await eventually(settled)
        stopping.set()
