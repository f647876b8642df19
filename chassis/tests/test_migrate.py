"""Migrations beside running replicas: no lock is waited for long, no frozen replica blocks a start."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from chassis import migrate
from chassis.database import Database, Sql, Transaction
from chassis.testing import eventually
from chassis.tests.network import BOTH, network
from chassis.tests.surroundings import INSERT_EFFECT, OwnDatabase, Server, effects

ENVIRONMENT = """
from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
context.run_migrations()
"""
MIGRATION = """
from alembic import op

revision, down_revision = "{revision}", {before}


def upgrade():
    {upgrade}
"""
ADD_COLUMN = 'op.execute("ALTER TABLE effects ADD COLUMN note text")'
# A replica as a process of its own, whose session the server gives up soon.
PROGRAM = """
import asyncio, sys
from pathlib import Path
from pydantic import SecretStr
from chassis import migrate

migrate._SETTINGS = {**migrate._SETTINGS, "idle_in_transaction_session_timeout": "1000", "idle_session_timeout": "1000"}
asyncio.run(migrate.to_head(SecretStr(sys.argv[1]), Path(sys.argv[2]), asyncio.Event()))
"""


def versions(folder: Path, *upgrades: str) -> Path:
    """A folder of migrations, each of which does what it is told."""
    (folder / "versions").mkdir()
    (folder / "env.py").write_text(ENVIRONMENT)
    for number, upgrade in enumerate(upgrades, 1):
        before = f'"{number - 1:04}"' if number > 1 else None
        text = MIGRATION.format(revision=f"{number:04}", before=before, upgrade=upgrade)
        (folder / "versions" / f"{number:04}_step.py").write_text(text)
    return folder


@pytest.fixture(autouse=True)
async def as_before(database: Database, own_database: OwnDatabase) -> AsyncIterator[None]:
    """Each test begins and ends with the tables of the small domain."""
    yield
    await own_database.ask("DROP TABLE IF EXISTS alembic_version, migrated")
    await own_database.ask("ALTER TABLE effects DROP COLUMN IF EXISTS note")


@asynccontextmanager
async def reading(own_database: OwnDatabase) -> AsyncGenerator[None]:
    """Somebody reads the table in a transaction that does not end, as a report or a backup does."""
    connection: asyncpg.Connection = await asyncpg.connect(
        own_database.url.get_secret_value().replace("+asyncpg", ""), timeout=5
    )
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM effects")
            yield
    finally:
        await connection.close()


async def head(own_database: OwnDatabase, folder: Path) -> None:
    async with asyncio.timeout(15):
        await migrate.to_head(own_database.url, folder, asyncio.Event())


async def has_note(own_database: OwnDatabase) -> bool:
    return await own_database.value(
        "SELECT EXISTS (SELECT FROM information_schema.columns WHERE table_name = 'effects' AND column_name = 'note')"
    )


async def note(transaction: Transaction) -> None:
    await transaction.run(INSERT_EFFECT, subject="a", sequence=1, message_id=None)


async def test_a_migration_behind_a_long_reader_lets_the_others_pass(
    database: Database, own_database: OwnDatabase, tmp_path: Path
) -> None:
    """It gives its place in the queue up, so that nobody waits for long, and has it done when the reader has ended."""
    folder = versions(tmp_path, ADD_COLUMN)
    async with reading(own_database):
        with capture_logs() as logs:
            migrating = asyncio.create_task(head(own_database, folder))
            await eventually(lambda: any("took too long" in log["event"] for log in logs))
        await database.unit_of_work(note)
        assert not migrating.done()
        assert not await has_note(own_database)
    await migrating
    assert await has_note(own_database)


async def test_who_is_held_up_by_a_migration_is_not_for_long(
    database: Database, own_database: OwnDatabase, tmp_path: Path
) -> None:
    """A writer that has queued up behind a migration's lock waits less than it may, and fails for nothing."""
    folder = versions(tmp_path, ADD_COLUMN)
    async with reading(own_database):
        migrating = asyncio.create_task(head(own_database, folder))
        await eventually(lambda: own_database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        began = time.monotonic()
        await database.unit_of_work(note)
        assert time.monotonic() - began < 2.5
    await migrating


async def test_each_migration_is_a_transaction_of_its_own(own_database: OwnDatabase, tmp_path: Path) -> None:
    """What is done stays done when a later one fails, and its locks are free; the next start does the rest."""
    folder = versions(tmp_path, 'op.execute("CREATE TABLE migrated (made int)")', 'op.execute("SELECT 1 / 0")')
    with pytest.raises(Exception, match="division by zero"):
        await head(own_database, folder)
    assert await own_database.value("SELECT version_num FROM alembic_version") == "0001"
    (folder / "versions" / "0002_step.py").write_text(
        MIGRATION.format(revision="0002", before='"0001"', upgrade=ADD_COLUMN)
    )
    await head(own_database, folder)
    assert await has_note(own_database)


async def test_an_index_is_made_without_holding_writers_up(own_database: OwnDatabase, tmp_path: Path) -> None:
    """As the module's first lines say: outside a transaction, behind the remains of a try that was given up."""
    folder = versions(
        tmp_path,
        """with op.get_context().autocommit_block():
        op.drop_index("ix_effects_subject", "effects", if_exists=True, postgresql_concurrently=True)
        op.create_index("ix_effects_subject", "effects", ["subject"], postgresql_concurrently=True)""",
    )
    await head(own_database, folder)
    assert await own_database.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_effects_subject'::regclass")
    await own_database.ask("DROP INDEX ix_effects_subject")


@pytest.mark.parametrize("in_a_statement", [True, False])
async def test_a_replica_that_is_frozen_while_it_migrates_is_passed_by(
    database: Database, own_database: OwnDatabase, tmp_path: Path, in_a_statement: bool
) -> None:
    """SIGSTOP in the middle, with a table and the migrations locked: the next start goes on; then the frozen one."""
    slow = 'op.execute("SELECT pg_sleep(0.5)")' if in_a_statement else "import time; time.sleep(2)"
    folder = versions(tmp_path, f"{ADD_COLUMN}; {slow}")
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, own_database.url.get_secret_value(), str(folder)),
        env={**os.environ, "PYTHONPATH": ".:protos/generated"},
    )
    try:
        locked = "SELECT count(*) FROM pg_locks WHERE relation = 'effects'::regclass AND mode = 'AccessExclusiveLock'"
        await eventually(lambda: own_database.value(locked), seconds_max=20)
        child.send_signal(signal.SIGSTOP)
        (folder / "versions" / "0001_step.py").write_text(
            MIGRATION.format(revision="0001", before=None, upgrade=ADD_COLUMN)
        )
        await head(own_database, folder)
        assert await has_note(own_database)
        await database.unit_of_work(note)
        child.send_signal(signal.SIGCONT)
        assert await asyncio.wait_for(child.wait(), 20) == 0
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


# What the connection carries in all, and where its session waits between a statement's parsing and its execution.
@pytest.mark.parametrize(
    ("carried_bytes", "ways"), [(1_500, BOTH), (2_500, BOTH), (4_000, BOTH), (2_500, ("to_client",))]
)
async def test_a_migration_whose_connection_goes_silent_is_begun_again(
    postgres: Server,
    own_database: OwnDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    carried_bytes: int,
    ways: Collection[str],
) -> None:
    """However long a statement may take: another connection shows that the server waits for us, and ends that."""
    monkeypatch.setattr(migrate, "LOOK_SECONDS", 0.2)
    folder = versions(tmp_path, f'{ADD_COLUMN}; op.execute("SELECT pg_sleep(0.2)")')
    async with network(postgres.port) as between:
        address, name = own_database.url.get_secret_value().rpartition("@")[0], own_database.NAME
        url = SecretStr(f"{address}@127.0.0.1:{between.port}/{name}")
        migrating = asyncio.create_task(migrate.to_head(url, folder, asyncio.Event()))
        while not between.links or between.links[0].carried_bytes < carried_bytes:  # noqa: ASYNC110 - at that very byte
            await asyncio.sleep(0)
        between.swallow(ways, links=1)
        async with asyncio.timeout(15):
            await migrating
    assert await has_note(own_database)


@pytest.mark.parametrize("state", ["SELECT 1", "BEGIN"])
async def test_who_holds_the_migrations_and_is_frozen_is_passed_by(
    own_database: OwnDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Also a replica of a version before, whose session has no limits: whoever waits for it ends it."""
    monkeypatch.setattr(migrate, "PASSED_BY_SECONDS", 0.5)
    frozen: asyncpg.Connection = await asyncpg.connect(
        own_database.url.get_secret_value().replace("+asyncpg", ""), timeout=5
    )
    try:
        await frozen.execute(f"{state}; SELECT pg_advisory_lock({migrate._LOCK})")  # pyright: ignore[reportPrivateUsage]
        await head(own_database, versions(tmp_path, ADD_COLUMN))
        assert await has_note(own_database)
    finally:
        frozen.terminate()


async def test_a_statement_that_takes_its_time_is_waited_for(
    own_database: OwnDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is seen at it; nobody takes that for silence."""
    monkeypatch.setattr(migrate, "LOOK_SECONDS", 0.1)
    with capture_logs() as logs:
        await head(own_database, versions(tmp_path, f'op.execute("SELECT pg_sleep(1)"); {ADD_COLUMN}'))
    assert logs == []
    assert await has_note(own_database)


async def test_a_database_of_a_newer_version_stays_as_it_is(own_database: OwnDatabase, tmp_path: Path) -> None:
    """A replica of the version before that starts again after the migration runs on what is there."""
    folder = versions(tmp_path, ADD_COLUMN, 'op.execute("CREATE TABLE migrated (made int)")')
    await head(own_database, folder)
    (folder / "versions" / "0002_step.py").unlink()
    await head(own_database, folder)
    assert await own_database.value("SELECT version_num FROM alembic_version") == "0002"


CHANGES = {
    "a nullable column": "ALTER TABLE effects ADD COLUMN note text",
    "a column with a default": "ALTER TABLE effects ADD COLUMN note text NOT NULL DEFAULT clock_timestamp()::text",
    "a wider type": "ALTER TABLE effects ALTER COLUMN sequence TYPE numeric",
    "another index": "CREATE INDEX ix_effects_note ON effects (subject)",
}
UNDO = {
    "a wider type": "ALTER TABLE effects ALTER COLUMN sequence TYPE bigint",
    "another index": "DROP INDEX ix_effects_note",
}
ALL = Sql("SELECT effects", "SELECT * FROM effects ORDER BY number")


@pytest.mark.parametrize("change", CHANGES)
async def test_a_schema_that_changes_under_prepared_statements_costs_no_work(
    database: Database, own_database: OwnDatabase, change: str
) -> None:
    """The work is rolled back, done again on a new connection, and its caller hears nothing of it."""

    async def work(transaction: Transaction) -> int:
        await transaction.all(ALL)
        await note(transaction)
        return len(await transaction.all(ALL))

    together = asyncio.Barrier(4)

    async def meet(transaction: Transaction) -> None:
        await transaction.all(ALL)
        await together.wait()

    await asyncio.gather(*(database.unit_of_work(meet) for _ in range(4)))
    await own_database.ask(CHANGES[change])
    try:
        assert [await database.unit_of_work(work) for _ in range(4)] == [1, 2, 3, 4]
        assert len(await effects(database)) == 4
    finally:
        if change in UNDO:
            await own_database.ask(UNDO[change])


async def test_a_type_that_is_made_anew_costs_no_work(database: Database, own_database: OwnDatabase) -> None:
    """What the driver has looked up of a type is forgotten with the connection."""
    make = (
        "CREATE TYPE mood AS ENUM ('good')",
        "CREATE TABLE migrated (mood mood)",
        "INSERT INTO migrated VALUES ('good')",
        f"GRANT SELECT ON migrated TO {own_database.NAME}",
    )
    select = Sql("SELECT migrated", "SELECT array_agg(mood) AS moods, min(mood) AS mood FROM migrated")

    async def work(transaction: Transaction) -> list[str]:
        row = await transaction.first(select)
        assert row is not None
        return row.moods

    for _ in range(2):
        for statement in make:
            await own_database.ask(statement)
        assert await database.unit_of_work(work) == ["good"]
        await own_database.ask("DROP TABLE migrated")
        await own_database.ask("DROP TYPE mood")
