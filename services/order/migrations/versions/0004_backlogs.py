"""Indexes that lead to what waits, and to each list's beginning, however many orders are stored.

A process of the version before may run beside one of this: it needs none of them, and writes them like any other.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index(
        "ix_outbox_unpublished_created_at",
        "outbox",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("published_at IS NULL"),
    )
    op.create_index("ix_command_outbox_created_at", "command_outbox", ["created_at"], unique=False)
    op.create_index(
        "ix_orders_customer_id_status_order_id", "orders", ["customer_id", "status", "order_id"], unique=False
    )
    op.create_index("ix_sagas_step_step_at_order_id", "sagas", ["step", "step_at", "order_id"], unique=False)
    for name, columns in (
        ("ix_sagas_parked_step_at", ["step_at", "order_id"]),
        ("ix_sagas_parked_step", ["step", "step_at", "order_id"]),
    ):
        op.create_index(name, "sagas", columns, unique=False, postgresql_where=sa.text("parked_at IS NOT NULL"))


def downgrade() -> None:
    for name in ("ix_sagas_parked_step", "ix_sagas_parked_step_at", "ix_sagas_step_step_at_order_id"):
        op.drop_index(name, "sagas")
    op.drop_index("ix_orders_customer_id_status_order_id", "orders")
    op.drop_index("ix_command_outbox_created_at", "command_outbox")
    op.drop_index("ix_outbox_unpublished_created_at", "outbox")
