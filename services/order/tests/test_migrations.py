"""The migrations make what the model says."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from chassis.database import Database
from services.order.model import metadata
from services.order.settings import OrderSettings


async def test_the_migrated_database_is_the_model(database: Database, settings: OrderSettings) -> None:
    """Alembic finds nothing to add, drop or change."""

    def differences(connection: Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    engine = create_async_engine(settings.database_owner_url.get_secret_value())
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()
    # Alembic's own table is nobody's model.
    assert [difference for difference in found if "alembic_version" not in str(difference)] == []
