"""Where Alembic begins; chassis/migrate.py gives the connection, and the transaction around all revisions."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection)
context.run_migrations()
