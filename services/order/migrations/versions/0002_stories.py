"""What a trace tells beyond the order's own: attempts of a command, stories that begin late, details of the timeline.

Every column has a default, so a process of the version before may run beside one of this.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "command_outbox",
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False, comment="how often the saga sent it"),
    )
    op.alter_column("command_outbox", "attempts", comment="how often it was called")
    op.add_column(
        "order_timeline",
        sa.Column("detail", sa.Text(), server_default="", nullable=False, comment="what the event's name does not say"),
    )
    op.add_column(
        "sagas",
        sa.Column(
            "story_traceparent",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="the same, of a late request",
        ),
    )
    op.add_column("sagas", sa.Column("story_tracestate", sa.Text(), server_default="", nullable=False))
    op.alter_column("sagas", "traceparent", comment="the order's span: each turn of the saga is its child")


def downgrade() -> None:
    op.drop_column("sagas", "story_tracestate")
    op.drop_column("sagas", "story_traceparent")
    op.drop_column("order_timeline", "detail")
    op.drop_column("command_outbox", "attempt")
