"""What a service does beside its work: migrations, retention and figures."""

import asyncio
from pathlib import Path

from chassis import gauges, migrate
from chassis.database import Database
from chassis.gauges import Gauges
from chassis.retention import Retention
from chassis.testing import eventually
from chassis.tests.surroundings import OwnDatabase, Topic, publish

MIGRATION = '''"""A table, made slowly."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("CREATE TABLE migrated (made int)")
    op.execute("INSERT INTO migrated SELECT 1 FROM pg_sleep(0.3)")


def downgrade() -> None:
    op.execute("DROP TABLE migrated")
'''
ENVIRONMENT = '''"""Runs inside the given connection."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
'''


def migrations(folder: Path) -> Path:
    (folder / "versions").mkdir()
    (folder / "env.py").write_text(ENVIRONMENT)
    (folder / "versions" / "0001_table.py").write_text(MIGRATION)
    return folder


async def test_replicas_that_start_together_migrate_once(own_database: OwnDatabase, tmp_path: Path) -> None:
    """The advisory lock lets one migrate; the other finds it done."""
    folder = migrations(tmp_path)
    await asyncio.gather(*(migrate.to_head(own_database.url, folder, asyncio.Event()) for _ in range(2)))
    assert await own_database.value("SELECT count(*) FROM migrated") == 1
    await own_database.ask("DROP TABLE migrated, alembic_version")


async def test_a_migration_waits_for_the_database(own_database: OwnDatabase, tmp_path: Path) -> None:
    """A service that starts before its database waits, and goes on by itself."""
    folder = migrations(tmp_path)
    await own_database.down()
    try:
        migrating = asyncio.create_task(migrate.to_head(own_database.url, folder, asyncio.Event()))
        done, _ = await asyncio.wait({migrating}, timeout=0.5)
        assert not done
    finally:
        await own_database.up()
    async with asyncio.timeout(10):
        await migrating
    await own_database.ask("DROP TABLE migrated, alembic_version")


def test_a_new_migration_follows_the_newest(tmp_path: Path) -> None:
    """Its number, its file name and what it revises."""
    made = migrate.begin(migrations(tmp_path), "add_notes")
    assert made.name == "0002_add_notes.py"
    assert 'revision = "0002"\ndown_revision = "0001"' in made.read_text()


async def test_published_events_are_forgotten_after_their_retention_and_others_never(
    database: Database, own_database: OwnDatabase, topic: Topic, stopping: asyncio.Event
) -> None:
    """What is old and delivered goes, by the thousand; what was not delivered stays, however old."""
    await publish(database, topic, "a", range(1, 4))
    await own_database.ask("UPDATE outbox SET created_at = created_at - interval '1 year'")
    await own_database.ask("UPDATE outbox SET published_at = clock_timestamp() - interval '1 hour' WHERE sequence = 1")
    await own_database.ask("UPDATE outbox SET published_at = clock_timestamp() WHERE sequence = 2")
    await own_database.ask(
        "INSERT INTO inbox SELECT 'g', gen_random_uuid(), clock_timestamp() - interval '1 hour'"
        " FROM generate_series(1, 1500)"
    )
    await own_database.ask("INSERT INTO inbox VALUES ('g', gen_random_uuid())")
    await Retention(database, seconds=600, stopping=stopping).prune()
    assert [row[0] for row in await own_database.ask("SELECT sequence FROM outbox ORDER BY 1")] == [2, 3]
    assert await own_database.value("SELECT count(*) FROM inbox") == 1


async def test_the_backlog_of_the_outbox_is_a_figure(
    database: Database, own_database: OwnDatabase, topic: Topic, stopping: asyncio.Event
) -> None:
    """How many events wait, and how long the oldest has."""
    await publish(database, topic, "a", range(1, 4))
    await own_database.ask("UPDATE outbox SET created_at = clock_timestamp() - interval '1 minute' WHERE sequence = 2")
    figures = await Gauges(database, gauges.OUTBOX, stopping=stopping).measure()
    assert figures["shop.outbox.backlog"] == 3
    assert 60 <= figures["shop.outbox.backlog_age_seconds"] < 70


async def test_figures_outlive_an_outage_of_the_database(
    database: Database, own_database: OwnDatabase, stopping: asyncio.Event
) -> None:
    """While the database does not answer there are no figures, rather than old ones; afterwards there are."""
    measured = Gauges(database, gauges.COMMAND_OUTBOX, stopping=stopping, interval_seconds=0.05)
    running = asyncio.create_task(measured.run())
    await eventually(lambda: measured.values)
    await own_database.down()
    try:
        await eventually(lambda: not measured.values)
    finally:
        await own_database.up()
    await eventually(lambda: measured.values)
    stopping.set()
    await running
