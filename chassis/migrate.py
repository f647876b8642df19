"""Applies a service's migrations at its start, as the owner role, one replica at a time, while others work on.

look: is it for me ─▶ one transaction a migration, each lock within two seconds, or it is given up and tried again

Replicas of the version before work on meanwhile, and may start again afterwards. So a schema changes in two deploys:
first **expand** (add what the new code needs, nullable or with a default; the code of before does not see it), then,
when no replica of the version before is left, **contract** (take away what nobody reads). One table a migration: what
it has locked is locked until it has ended. An index on a large table is made with `postgresql_concurrently=True` inside
`op.get_context().autocommit_block()`, behind `op.drop_index(…, if_exists=True)`: one that was given up is left invalid.
"""

import argparse
import asyncio
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from chassis import kafka, logs
from chassis.connections import CONNECT_SECONDS_MAX, connect
from chassis.database_errors import Unavailable, is_locked
from chassis.outages import checked, outages

log = logs.get(__name__)

# Any number will do, as long as every replica takes the same one: the lock is per database.
_LOCK = 7_243_390_117
# Who waits for a table's lock holds up whoever comes for the table later: an ALTER behind a long reader holds up all.
# Less than the services wait for a lock, so that they notice nothing but a delay. The session of a process that was
# frozen, or cut off, is ended by the server, with its locks; it may be between two statements, or two migrations.
_SETTINGS = {
    "lock_timeout": "2000",
    "statement_timeout": "600000",
    "idle_in_transaction_session_timeout": "8000",
    "idle_session_timeout": "8000",
    "client_connection_check_interval": "1000",
}
RETRY_SECONDS = 1.0
# Between two tries to get a lock: those who were held up work off what has come meanwhile.
LOCKED_SECONDS_MAX = 8.0
# How often another connection looks whether the server is still at the statement that is waited for.
LOOK_SECONDS = 3.0
# A session may count as active while it waits for the client, between a statement's parsing and its execution: then no
# limit of the server's runs.
_SEEN = """
    SELECT state = 'active' AND wait_event_type IS DISTINCT FROM 'Client' AS works, state_change
    FROM pg_stat_activity WHERE pid = $1
"""
# The server does not hear of a client that is frozen or cut off, so whoever waits for its lock ends its session.
PASSED_BY_SECONDS = 8.0
_PASS_BY = text(
    """
    SELECT a.pid, pg_terminate_backend(a.pid)
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid JOIN pg_database d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND d.datname = current_database()
      AND (CAST(l.classid AS bigint) << 32 | CAST(l.objid AS bigint)) = :lock
      AND a.wait_event_type = 'Client' AND a.state_change < clock_timestamp() - make_interval(secs => :seconds)
    """
)


async def to_head(owner_url: SecretStr, migrations: Path, stopping: asyncio.Event) -> None:
    """Bring the database to the newest revision; waits while the database does not answer, or a table is locked.

    Raises:
        Misconfigured: it answers, but lets nobody in with this URL.
    """
    pause = RETRY_SECONDS
    while not stopping.is_set():
        with outages("the migration waits") as outage:
            if await _upgrade(owner_url.get_secret_value(), migrations):
                return
        is_held_up = outage.error is not None and is_locked(outage.error)
        pause = min(2 * pause, LOCKED_SECONDS_MAX) if is_held_up else RETRY_SECONDS
        await kafka.wait(stopping, pause)


async def _upgrade(owner_url: str, migrations: Path) -> bool:
    """False if another replica is at it."""
    url = owner_url.replace("postgresql+asyncpg://", "postgresql://", 1)
    with checked("DATABASE_OWNER_URL"):
        driver = await connect(url, _SETTINGS)

    async def opened() -> asyncpg.Connection:
        return driver

    engine = create_async_engine("postgresql+asyncpg://", poolclass=NullPool, async_creator=opened)
    working = asyncio.create_task(_migrate(engine, migrations))
    # What it ends with once it is given up is nobody's any more.
    working.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    try:
        await _while_seen(working, url, driver)
        return await working
    finally:
        # Whatever has happened, nothing of it waits for the server, or holds a lock, any more.
        driver.terminate()
        working.cancel()
        await asyncio.wait({working}, timeout=CONNECT_SECONDS_MAX)
        await engine.dispose()


async def _migrate(engine: AsyncEngine, migrations: Path) -> bool:
    async with engine.connect() as connection:
        # The session's, and not a transaction's: each migration has one of its own.
        if not await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
            passed_by = await connection.execute(_PASS_BY, {"lock": _LOCK, "seconds": PASSED_BY_SECONDS})
            log.info("the migration waits: another replica is at it", frozen=[row.pid for row in passed_by])
            return False
        if await connection.run_sync(is_ahead, migrations):
            log.warning("the database is of a newer version, and stays as it is")
            return True
        await connection.commit()
        await connection.run_sync(upgrade, migrations)
        await connection.commit()
        return True


async def _while_seen(working: asyncio.Task[bool], url: str, driver: asyncpg.Connection) -> None:
    """Wait for the work while the server is at it, however long that takes; returns when it has ended.

    A statement of a migration may take minutes, so no limit of time tells a connection that has gone silent. The server
    does, on another one: who is not at work, and was not three seconds ago either, has answered, and was not heard.

    Raises:
        Unavailable: the connection has gone silent, and is closed.
    """
    pid, idle_since = driver.get_server_pid(), None
    while not (await asyncio.wait({working}, timeout=LOOK_SECONDS))[0]:
        try:
            looking = await connect(url, {})
        except Unavailable:
            # The server may be at it all the same.
            continue
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                seen = await looking.fetchrow(_SEEN, pid)
                if seen is not None and (seen["works"] or seen["state_change"] != idle_since):
                    idle_since = seen["state_change"]
                    continue
                await looking.execute("SELECT pg_terminate_backend($1)", pid)
        except (TimeoutError, asyncpg.PostgresError):
            continue
        finally:
            looking.terminate()
        driver.terminate()
        await asyncio.wait({working}, timeout=CONNECT_SECONDS_MAX)
        raise Unavailable("the connection of the migration has gone silent")


def is_ahead(connection: Connection, migrations: Path) -> bool:
    """Whether the database is of a version that these migrations do not know: a newer one, which this code runs on."""
    known = {script.revision for script in ScriptDirectory(str(migrations)).walk_revisions()}
    return not known.issuperset(MigrationContext.configure(connection).get_current_heads())


def config(connection: Connection, migrations: Path) -> Config:
    """Alembic's configuration for migrations that run on the given connection."""
    found = Config()
    found.set_main_option("script_location", str(migrations))
    found.attributes["connection"] = connection
    return found


def upgrade(connection: Connection, migrations: Path) -> None:
    """Run the migrations that are missing, inside the connection's transaction, or each in one if there is none."""
    command.upgrade(config(connection, migrations), "head")


_TEMPLATE = '''"""{title}."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"


def upgrade() -> None:
    """Say here what changes; `make test` compares the result with the model."""


def downgrade() -> None:
    """Say here how to undo it."""
'''


def begin(migrations: Path, name: str) -> Path:
    """Write an empty migration behind the newest one; returns its file."""
    newest = max(file.name[:4] for file in (migrations / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))
    revision = f"{int(newest) + 1:04}"
    file = migrations / "versions" / f"{revision}_{name}.py"
    title = name.replace("_", " ").capitalize()
    file.write_text(_TEMPLATE.format(title=title, revision=revision, down_revision=newest))
    return file


def main() -> None:
    """`python -m chassis.migrate new MIGRATIONS NAME`."""
    parser = argparse.ArgumentParser(prog="python -m chassis.migrate", description="Begins a migration of a service.")
    parser.add_argument("action", choices=["new"])
    parser.add_argument("migrations", type=Path, help="the folder, such as services/order/migrations")
    parser.add_argument("name", help="in snake case, such as add_notes")
    arguments = parser.parse_args()
    print(begin(arguments.migrations, arguments.name))  # noqa: T201 - the answer of a command


if __name__ == "__main__":
    main()
