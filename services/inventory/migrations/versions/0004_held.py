"""An index that leads to the reservations that still hold something, however many are stored.

A process of the version before may run beside one of this: it does not need it, and writes it like any other.
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("CREATE INDEX ix_reservations_held ON reservations (created_at) WHERE state = 'HELD'")
