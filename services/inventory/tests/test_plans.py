"""What is measured again and again is found by an index, however much is stored."""

from pydantic import SecretStr

from chassis.database import Sql
from chassis.gauges import COUNTED_MAX
from chassis.tests.plans import ROWS, own_database, planned_when_empty
from infra.local.postgres import Postgres
from services.inventory.__main__ import MIGRATIONS, figures
from services.inventory.settings import InventorySettings

FILL = (
    f"""
    INSERT INTO stock (sku, available, held, unit_price_minor, currency_code)
    SELECT 'a-' || n, 100, 1, 100, 'EUR' FROM generate_series(1, {ROWS}) AS n
    """,
    # Half of them are held, and those for an hour.
    f"""
    INSERT INTO reservations (order_id, state, total_minor, currency_code, created_at)
    SELECT n::text, CASE n % 2 WHEN 0 THEN 'HELD' ELSE 'SHIPPED' END, 100, 'EUR', clock_timestamp() - interval '1 hour'
    FROM generate_series(1, {ROWS}) AS n
    """,
)


async def test_figures_are_found_by_an_index(postgres: Postgres) -> None:
    """By plans that were made when there was nothing."""
    nowhere = SecretStr("postgresql+asyncpg://nobody@127.0.0.1:1/nowhere")
    measured = figures(InventorySettings(database_url=nowhere, database_owner_url=nowhere))
    asked = {name: (Sql(name, one.query), one.parameters) for name, one in measured.items()}
    tables = own_database(postgres, "inventory", MIGRATIONS, "stock", "reservations")
    async with tables as (database, ask), planned_when_empty(database, asked) as session:
        for fill in FILL:
            await ask(fill)
        done = {name: await session.explain(name) for name in asked}
    assert {name: one for name, one in done.items() if one.rows > COUNTED_MAX or "Seq Scan" in one.nodes} == {}
    assert done["shop.reservations.held_too_long"].is_index_only
