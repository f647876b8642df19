"""The migrated database: it is the one that the model describes, and the running role can do no more than its work."""

from collections.abc import Sequence

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from chassis.database import Database, Sql
from infra.local.postgres import Postgres
from services.inventory import model
from services.inventory.tests.driver import Driver, Shelf

# What Alembic does not compare.
_DETAILS = """
    SELECT CAST(CAST(conrelid AS regclass) AS text) AS owner, conname AS name, pg_get_constraintdef(oid) AS definition
    FROM pg_constraint
    WHERE connamespace = CAST(CAST(:schema AS text) AS regnamespace) AND contype <> 'n'
      AND conname <> 'alembic_version_pkc'
    UNION ALL
    SELECT table_name, column_name, collation_name FROM information_schema.columns
    WHERE table_schema = CAST(:schema AS text) AND collation_name IS NOT NULL
    ORDER BY 1, 2
"""


async def test_the_migrations_make_what_the_model_describes(database_url: SecretStr) -> None:
    """Alembic finds nothing to do."""

    def differences(connection: Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), model.metadata))

    engine = create_async_engine(database_url.get_secret_value())
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_the_migrations_make_the_checks_and_collations_of_the_model(
    postgres: Postgres, database_url: SecretStr
) -> None:
    """The model, made in a schema of its own, has the same."""

    def details(connection: Connection, schema: str) -> Sequence[object]:
        connection.execute(text(f"SET search_path TO {schema}"))
        if schema == "scratch":
            model.metadata.create_all(connection, checkfirst=False)
        return connection.execute(text(_DETAILS), {"schema": schema}).all()

    engine = create_async_engine(postgres.database_url("inventory", "inventory_owner"))
    async with engine.connect() as connection:
        await connection.execute(text("CREATE SCHEMA scratch"))
        described = await connection.run_sync(details, "scratch")
        made = await connection.run_sync(details, "public")
        await connection.rollback()
    await engine.dispose()

    assert len(made) > 20
    assert made == described


async def test_the_shop_begins_with_articles(database: Database) -> None:
    """The piece that two orders want, the one that is gone, and plenty of the others."""
    async with database.single() as once:
        rows = await once.all(Sql("SELECT stock", "SELECT * FROM stock WHERE sku NOT LIKE '%article-%'"))
    available = {row.sku: row.available for row in rows}
    assert (available["last-one"], available["sold-out"], available["espresso-beans"]) == (1, 0, 1_000_000)
    assert {"filter-papers", "moka-pot", "grinder"} < set(available)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "ALTER TABLE stock ADD COLUMN mine int",
        "DROP TABLE stock",
        "TRUNCATE reservation_lines",
        "INSERT INTO stock (sku, available, unit_price_minor, currency_code) VALUES ('mine', 1, 1, 'EUR')",
        "UPDATE stock SET unit_price_minor = 0",
        "DELETE FROM stock",
        "DELETE FROM reservations",
        "UPDATE reservation_lines SET quantity = 1",
        "DELETE FROM reservation_lines",
        "DELETE FROM restocks",
    ],
)
async def test_the_running_role_may_not(database: Database, statement: str) -> None:
    async with database.single() as once:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"permission denied|must be owner"):
            await once.run(Sql(f"{statement.split()[0]} anything", statement))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("available", "-1"),
        ("held", "-1"),
        ("unit_price_minor", "-1"),
        ("unit_price_minor", "1000001"),
        ("currency_code", "'USD'"),
        ("sku", "'No-Such'"),
    ],
)
async def test_the_shelf_cannot_hold_what_makes_no_sense(
    driver: Driver, owner: Database, column: str, value: str
) -> None:
    """Whatever a handler computes."""
    sku = await driver.article(1)
    async with owner.single() as once:
        with pytest.raises(asyncpg.CheckViolationError, match=f"ck_stock_{column}"):
            await once.run(Sql("UPDATE stock", f"UPDATE stock SET {column} = {value} WHERE sku = :sku"), sku=sku)
    assert await driver.shelf(sku) == Shelf(1, 0)
