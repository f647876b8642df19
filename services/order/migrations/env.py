"""Alembic runs the revisions inside the connection, and the transaction, that chassis/migrate.py gives it."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection)
context.run_migrations()
