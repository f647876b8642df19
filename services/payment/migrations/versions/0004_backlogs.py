"""Indexes that lead to what waits, however many payments are stored.

A process of the version before may run beside one of this: it needs none of them, and writes them like any other.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

_STATEMENTS = (
    "CREATE INDEX ix_outbox_unpublished_created_at ON outbox (created_at) WHERE published_at IS NULL",
    """
    CREATE INDEX ix_payments_open_charges ON payments (created_at)
    WHERE next_attempt_at IS NOT NULL AND refund_requested_at IS NULL
    """,
    """
    CREATE INDEX ix_payments_open_refunds ON payments (refund_requested_at)
    WHERE next_attempt_at IS NOT NULL AND refund_requested_at IS NOT NULL
    """,
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
