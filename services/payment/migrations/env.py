"""Where Alembic begins; chassis/migrate.py gives the connection, and the transaction around all revisions."""

from alembic import context

from chassis import reader
from services.payment.model import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
context.run_migrations()
# Each time: what a table of today forbids or shows may be otherwise than it was.
reader.grant(connection, metadata)
