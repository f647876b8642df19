"""Applies a service's migrations at its start, as the owner role, one replica at a time."""

import argparse
import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from chassis import kafka
from chassis.database import checked, outages

# Any number will do, as long as every replica takes the same one: the lock is per database.
_LOCK = 7_243_390_117


async def to_head(owner_url: SecretStr, migrations: Path, stopping: asyncio.Event) -> None:
    """Bring the database to the newest revision; waits while the database does not answer.

    Raises:
        Misconfigured: it answers, but lets nobody in with this URL.
    """
    while not stopping.is_set():
        with outages("the migration waits"):
            await _upgrade(owner_url, migrations)
            return
        await kafka.wait(stopping, 1.0)


async def _upgrade(owner_url: SecretStr, migrations: Path) -> None:
    engine = create_async_engine(owner_url.get_secret_value(), poolclass=NullPool, connect_args={"timeout": 5})
    try:
        with checked("DATABASE_OWNER_URL"):
            async with engine.begin() as connection:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
                await connection.run_sync(upgrade, migrations)
    finally:
        await engine.dispose()


def config(connection: Connection, migrations: Path) -> Config:
    """Alembic's configuration for migrations that run inside the given connection's transaction."""
    found = Config()
    found.set_main_option("script_location", str(migrations))
    found.attributes["connection"] = connection
    return found


def upgrade(connection: Connection, migrations: Path) -> None:
    """Run the migrations that are missing, inside the connection's transaction."""
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
