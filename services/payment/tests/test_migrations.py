"""The migrations make what the model says."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from services.payment.model import metadata


async def test_the_migrated_database_is_the_model(owner_url: SecretStr) -> None:
    """Alembic finds nothing to add, drop or change."""

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return compare_metadata(context, metadata)

    engine = create_async_engine(owner_url.get_secret_value())
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()
    # Alembic's own table is nobody's model.
    assert [difference for difference in found if "alembic_version" not in str(difference)] == []
