"""An index that leads to what waits for Kafka, however many events are stored.

A process of the version before may run beside one of this: it does not need it, and writes it like any other.
"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("CREATE INDEX ix_outbox_unpublished_created_at ON outbox (created_at) WHERE published_at IS NULL")
