"""The figures that the promise to customers is judged by: what was given up, why, and how often."""

from collections.abc import Awaitable, Callable

import pytest
from shop.inventory.v1.inventory_events_pb2 import ReservationRefused
from shop.payment.v1.payment_events_pb2 import PaymentDeclined

from chassis.database import Database, Transaction
from chassis.dispatcher import CommandRefused
from chassis.testing import figure, served
from services.order import handlers, orchestrator
from services.order.saga import Reason
from services.order.settings import OrderSettings
from services.order.tests.test_handlers import Shop


@pytest.fixture
def shop(database: Database, settings: OrderSettings) -> Shop:
    return Shop(database, settings)


async def sold_out(shop: Shop) -> None:
    await shop.hear(ReservationRefused(order_id=(await shop.place()).order_id, reason=ReservationRefused.OUT_OF_STOCK))


async def declined(shop: Shop) -> None:
    await shop.hear(PaymentDeclined(order_id=await shop.reserved()), "payment")


async def not_reserved_in_time(shop: Shop) -> None:
    await shop.wait_out((await shop.place()).order_id)


async def not_charged_in_time(shop: Shop) -> None:
    order_id = await shop.reserved()
    await shop.wait_out(order_id)
    # Its compensation is late too; the order was given up once.
    await shop.wait_out(order_id)


async def refused_for_ever(shop: Shop) -> None:
    refused = CommandRefused((await shop.place()).order_id, "reserve_stock", "INVALID_ARGUMENT")
    await served(shop.database, handlers.command_refused, refused, shop.settings)


async def cancelled(shop: Shop) -> None:
    await served(shop.database, handlers.cancel_order, await shop.reserved(), shop.settings)


def given_up() -> dict[Reason, float]:
    return {reason: figure("shop.saga.given_up", reason=reason) or 0.0 for reason in Reason}


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (sold_out, Reason.OUT_OF_STOCK),
        (declined, Reason.PAYMENT_DECLINED),
        (not_reserved_in_time, Reason.RESERVATION_TIMED_OUT),
        (not_charged_in_time, Reason.PAYMENT_TIMED_OUT),
        (refused_for_ever, Reason.RESERVATION_REFUSED),
        (cancelled, Reason.CANCELLED_BY_CUSTOMER),
    ],
)
async def test_an_order_that_is_given_up_is_counted_once_with_its_reason(
    shop: Shop, happens: Callable[[Shop], Awaitable[None]], reason: Reason
) -> None:
    """What card or stock dictate is told apart from what took too long, at the moment that is decided."""
    before = given_up()
    await happens(shop)
    assert {key: count - before[key] for key, count in given_up().items() if count != before[key]} == {reason: 1.0}


async def test_a_confirmed_order_is_not_given_up_even_if_it_is_cancelled_later(shop: Shop) -> None:
    """The promise was kept."""
    before = given_up()
    order_id = await shop.confirmed()
    await served(shop.database, handlers.cancel_order, order_id, shop.settings)
    assert given_up() == before


async def test_an_attempt_that_is_rolled_back_is_not_counted(shop: Shop) -> None:
    """A consumer's batch that fails is applied again, message by message: each counts once."""
    order_id = await shop.reserved()
    before = given_up()

    async def fails_late(transaction: Transaction) -> None:
        await handlers.cancel_order(transaction, order_id, shop.settings)
        raise LookupError

    with pytest.raises(LookupError):
        await served(shop.database, fails_late)
    assert given_up() == before
    await served(shop.database, handlers.cancel_order, order_id, shop.settings)
    assert given_up()[Reason.CANCELLED_BY_CUSTOMER] == before[Reason.CANCELLED_BY_CUSTOMER] + 1


def test_every_reason_is_reported_from_the_start() -> None:
    """The first order that is given up is an increase, not the beginning of a counter."""
    figure("shop.saga.given_up")
    orchestrator.count_from_zero()
    assert all(figure("shop.saga.given_up", reason=reason) is not None for reason in Reason)
