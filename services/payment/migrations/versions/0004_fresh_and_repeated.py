"""First attempts and later ones are claimed apart, each by an index of its own.

The commit before goes on claiming both by the index that it has.
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        "CREATE INDEX ix_payments_fresh ON payments (attempts, next_attempt_at DESC) "
        "WHERE next_attempt_at IS NOT NULL AND attempts < 2"
    )
    op.execute(
        "CREATE INDEX ix_payments_repeated ON payments (next_attempt_at) "
        "WHERE next_attempt_at IS NOT NULL AND attempts >= 2"
    )
