"""Where Alembic begins: on the connection that chassis/migrate.py gives it, one transaction for each revision."""

from alembic import context

from chassis import reader
from services.payment.model import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
context.run_migrations()
# Each time: what a table of today forbids or shows may be otherwise than it was.
reader.grant(connection, metadata)
