"""A confirmed order that is cancelled awaits its refund and its goods' return: who was not told in time is counted."""

import asyncio
from collections.abc import Mapping

import pytest
from alembic import command
from pydantic import SecretStr
from shop.inventory.v1.inventory_events_pb2 import StockReturned
from shop.payment.v1.payment_events_pb2 import PaymentRefunded
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from chassis import migrate
from chassis.database import Database, Sql
from chassis.gauges import Gauges
from chassis.testing import served
from chassis.tests.plans import own_database
from infra.local.postgres import Postgres
from services.order import handlers
from services.order.__main__ import MIGRATIONS, figures
from services.order.settings import OrderSettings
from services.order.tests.test_handlers import Shop

REFUNDS, RETURNS = "shop.order.refunds_unheard", "shop.order.returns_unheard"
LONG_AGO = Sql(
    "UPDATE sagas",
    "UPDATE sagas SET undo_awaited_at = undo_awaited_at - make_interval(secs => :seconds) WHERE order_id = :order_id",
)


@pytest.fixture
def shop(database: Database, settings: OrderSettings) -> Shop:
    return Shop(database, settings)


async def cancelled(shop: Shop, seconds: float) -> str:
    """A confirmed order that was cancelled so long ago."""
    order_id = await shop.confirmed()
    await served(shop.database, handlers.cancel_order, order_id, shop.settings)
    async with shop.database.single() as once:
        await once.run(LONG_AGO, order_id=order_id, seconds=seconds)
    return order_id


async def unheard(database: Database, settings: OrderSettings) -> Mapping[str, float]:
    measured = {name: one for name, one in figures(settings).items() if name in (REFUNDS, RETURNS)}
    return await Gauges(database, measured, stopping=asyncio.Event()).measure()


async def test_a_refund_and_a_return_that_nobody_hears_of_are_counted(shop: Shop) -> None:
    """Each by itself, from the moment on when a parked saga would call a person, until it is heard."""
    await cancelled(shop, shop.settings.park_after_seconds - 60)
    order_id = await cancelled(shop, shop.settings.park_after_seconds + 1)
    assert await unheard(shop.database, shop.settings) == {REFUNDS: 1.0, RETURNS: 1.0}
    await shop.hear(StockReturned(order_id=order_id), sequence=2)
    assert await unheard(shop.database, shop.settings) == {REFUNDS: 1.0, RETURNS: 0.0}
    await shop.hear(PaymentRefunded(order_id=order_id), "payment", sequence=2)
    assert await unheard(shop.database, shop.settings) == {REFUNDS: 0.0, RETURNS: 0.0}


async def test_what_was_heard_before_the_cancel_is_not_awaited(shop: Shop) -> None:
    """An operator gave the money back by hand: no other refund will come."""
    order_id = await shop.confirmed()
    await shop.hear(PaymentRefunded(order_id=order_id), "payment", sequence=2)
    await served(shop.database, handlers.cancel_order, order_id, shop.settings)
    async with shop.database.single() as once:
        await once.run(LONG_AGO, order_id=order_id, seconds=shop.settings.park_after_seconds + 1)
    assert await unheard(shop.database, shop.settings) == {REFUNDS: 0.0, RETURNS: 1.0}
    await shop.hear(StockReturned(order_id=order_id), sequence=2)


async def test_an_order_that_was_cancelled_by_the_version_before_is_counted_too(
    postgres: Postgres, settings: OrderSettings
) -> None:
    """The migration looks through those that were cancelled before it: what was heard, and what was not."""
    async with own_database(postgres, "order", MIGRATIONS, "orders") as (database, _ask):
        shop = Shop(database, settings)
        whole, half = await cancelled(shop, 0), await cancelled(shop, 0)
        for order_id in (whole, half):
            await shop.hear(PaymentRefunded(order_id=order_id), "payment", sequence=2)
        await shop.hear(StockReturned(order_id=whole), sequence=2)
        async with database.single() as once:
            moved = "UPDATE orders SET updated_at = updated_at - interval '1 hour'"
            await once.run(Sql("UPDATE orders", moved))
        url = SecretStr(postgres.database_url("order", "order_owner").removesuffix("order") + "order_orders")
        await again(url)
        assert await unheard(database, settings) == {REFUNDS: 0.0, RETURNS: 1.0}


async def again(owner_url: SecretStr) -> None:
    """Migrate down to the version before, and up."""

    def down(connection: Connection) -> None:
        command.downgrade(migrate.config(connection, MIGRATIONS), "0003")

    engine = create_async_engine(owner_url.get_secret_value())
    async with engine.begin() as connection:
        await connection.run_sync(down)
    await engine.dispose()
    await migrate.to_head(owner_url, MIGRATIONS, asyncio.Event())
