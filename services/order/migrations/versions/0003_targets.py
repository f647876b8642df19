"""Commands are claimed for each target by itself.

A process of the version before finds what is due by reading the few rows that wait.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index(
        "ix_command_outbox_target",
        "command_outbox",
        [sa.text("split_part(method, '/', 2)"), "next_attempt_at"],
        unique=False,
    )
    op.drop_index("ix_command_outbox_next_attempt_at", "command_outbox")


def downgrade() -> None:
    op.create_index("ix_command_outbox_next_attempt_at", "command_outbox", ["next_attempt_at"], unique=False)
    op.drop_index("ix_command_outbox_target", "command_outbox")
