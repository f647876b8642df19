"""The role that only looks is shown what the model shows, today's and what comes later, on both servers."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from chassis import reader
from chassis.tests.surroundings import OwnDatabase


def notes(*columns: Column[str]) -> MetaData:
    metadata = MetaData()
    Table("notes", metadata, Column("id", Integer, primary_key=True), *columns)
    return metadata


@pytest.fixture
async def engine(own_database: OwnDatabase) -> AsyncIterator[AsyncEngine]:
    """As the owner of the tables, who is not the owner of everything."""
    made = create_async_engine(own_database.url.get_secret_value(), poolclass=NullPool)
    yield made
    await made.dispose()
    await own_database.ask("DROP TABLE IF EXISTS notes, later, alembic_version")
    if await own_database.value("SELECT count(*) FROM pg_roles WHERE rolname = 'chassis_reader'"):
        await own_database.ask("DROP OWNED BY chassis_reader")
        await own_database.ask("DROP ROLE chassis_reader")


async def granted(engine: AsyncEngine, metadata: MetaData) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.run_sync(reader.grant, metadata)


async def shown(own_database: OwnDatabase, table: str) -> list[str]:
    """The columns that the reader may read."""
    rows = await own_database.ask(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"
        " AND has_column_privilege('chassis_reader', attrelid, attnum, 'SELECT') ORDER BY attnum",
        table,
    )
    return [row[0] for row in rows]


async def test_a_secret_column_is_hidden_and_the_others_are_shown(
    own_database: OwnDatabase, engine: AsyncEngine
) -> None:
    """Also when it became secret after it was shown."""
    await own_database.ask("CREATE ROLE chassis_reader")
    await granted(engine, notes(Column("text", Text), Column("token", Text)))
    assert await shown(own_database, "notes") == ["id", "text", "token"]
    await granted(engine, notes(Column("text", Text), Column("token", Text, info=reader.SECRET)))
    assert await shown(own_database, "notes") == ["id", "text"]


async def test_a_table_that_comes_later_is_shown_from_then_on(own_database: OwnDatabase, engine: AsyncEngine) -> None:
    """And what this version does not know, of a newer one beside it, stays as that one left it."""
    await own_database.ask("CREATE ROLE chassis_reader")
    await granted(engine, notes())
    newer = notes(Column("text", Text))
    Table("later", newer, Column("id", Integer, primary_key=True), Column("token", Text, info=reader.SECRET))
    await own_database.ask("ALTER TABLE notes ADD COLUMN text text")
    await granted(engine, newer)
    assert (await shown(own_database, "notes"), await shown(own_database, "later")) == (["id", "text"], ["id"])
    await granted(engine, notes())
    assert (await shown(own_database, "notes"), await shown(own_database, "later")) == (["id"], ["id"])


async def test_the_reader_may_do_nothing_else(own_database: OwnDatabase, engine: AsyncEngine) -> None:
    """Whatever somebody once granted to it."""
    await own_database.ask("CREATE ROLE chassis_reader")
    await granted(engine, notes())
    await own_database.ask("GRANT ALL ON notes TO chassis_reader")
    await granted(engine, notes())
    for right in ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
        assert not await own_database.value("SELECT has_table_privilege('chassis_reader', 'notes', $1)", right), right


async def test_a_database_without_a_reader_is_left_as_it_is(own_database: OwnDatabase, engine: AsyncEngine) -> None:
    """It was made by a version that had none; its service starts all the same."""
    await granted(engine, notes())
    assert await own_database.value("SELECT relacl IS NULL FROM pg_class WHERE oid = 'notes'::regclass")
