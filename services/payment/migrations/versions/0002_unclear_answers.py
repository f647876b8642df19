"""A payment notes an answer that does not fit; the ledger takes a correction.

The commit before runs beside this: it writes none of the new column, and every row of its own keeps the new laws.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

# Each law allows what the one before it did; to look at a million rows takes a fraction of a second.
_STATEMENTS = (
    "ALTER TABLE payments ADD COLUMN unclear text",
    "COMMENT ON COLUMN payments.unclear IS 'why the network''s last answer did not fit; null once the payment moves'",
    "GRANT UPDATE (unclear) ON payments TO payment",
    "ALTER TABLE payments DROP CONSTRAINT ck_payments_open",
    """
    ALTER TABLE payments ADD CONSTRAINT ck_payments_open CHECK (
        CASE state WHEN 'CHARGING' THEN next_attempt_at IS NOT NULL
                   WHEN 'CHARGED' THEN (next_attempt_at IS NOT NULL) = (refund_requested_at IS NOT NULL)
                   WHEN 'REFUNDED' THEN next_attempt_at IS NULL
                   ELSE next_attempt_at IS NULL OR refund_requested_at IS NOT NULL END)
    """,
    """
    CREATE INDEX ix_payments_unclear ON payments (next_attempt_at)
    WHERE next_attempt_at IS NOT NULL AND unclear IS NOT NULL
    """,
    "ALTER TABLE ledger_entries DROP CONSTRAINT ck_ledger_entries_posting",
    """
    ALTER TABLE ledger_entries ADD CONSTRAINT ck_ledger_entries_posting
    CHECK (posting IN ('charge', 'refund', 'correction'))
    """,
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
