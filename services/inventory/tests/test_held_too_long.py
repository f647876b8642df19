"""A reservation that is held for longer than any order takes is counted, and no other."""

import asyncio

from pydantic import SecretStr

from chassis.database import Database, Sql
from chassis.gauges import Gauges
from services.inventory.__main__ import figures
from services.inventory.settings import InventorySettings
from services.inventory.tests.driver import Driver

FIGURE = "shop.reservations.held_too_long"
LONG_AGO = Sql(
    "UPDATE reservations",
    """
    UPDATE reservations SET created_at = clock_timestamp() - make_interval(secs => :seconds)
    WHERE order_id = :order_id
    """,
)


async def held_too_long(database: Database, settings: InventorySettings) -> float:
    gauges = Gauges(database, {FIGURE: figures(settings)[FIGURE]}, stopping=asyncio.Event())
    return (await gauges.measure())[FIGURE]


async def test_stock_that_is_held_past_every_deadline_is_counted(
    driver: Driver, owner: Database, database_url: SecretStr, order_id: str
) -> None:
    """Both steps forward, and both back until a person is called: 20 + 30 + 2 × 300 s unless told otherwise."""
    settings = InventorySettings(database_url=database_url, database_owner_url=database_url)
    assert settings.held_seconds_max == 650
    before = await held_too_long(driver.database, settings)
    sku = await driver.article(10)
    await driver.reserve(order_id, {sku: 1})
    for seconds, more in ((640.0, 0), (660.0, 1)):
        async with owner.single() as once:
            await once.run(LONG_AGO, order_id=order_id, seconds=seconds)
        assert await held_too_long(driver.database, settings) - before == more
    await driver.confirmed(order_id)
    assert await held_too_long(driver.database, settings) == before
