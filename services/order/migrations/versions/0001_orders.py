"""Orders, sagas, the timeline, and the tables of the chassis' patterns."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "command_outbox",
        sa.Column("id", sa.Uuid(), nullable=False, comment="derived from saga and step: the same at every attempt"),
        sa.Column("saga_id", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False, comment="/package.Service/Method"),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=False),
        sa.Column("tracestate", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "next_attempt_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name="pk_command_outbox"),
    )
    op.create_index("ix_command_outbox_next_attempt_at", "command_outbox", ["next_attempt_at"], unique=False)
    op.create_index("ix_command_outbox_saga_id", "command_outbox", ["saga_id"], unique=False)
    op.create_table(
        "inbox",
        sa.Column("consumer_group", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column(
            "received_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("consumer_group", "message_id", name="pk_inbox"),
    )
    op.create_index("ix_inbox_received_at", "inbox", ["received_at"], unique=False)
    op.create_table(
        "orders",
        sa.Column("order_id", sa.Text(), nullable=False, comment="a UUIDv7, so that newer orders sort higher"),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column(
            "request_fingerprint", sa.LargeBinary(), nullable=False, comment="SHA-256 of the request without its id"
        ),
        sa.Column(
            "lines",
            sa.LargeBinary(),
            nullable=False,
            comment="a shop.order.v1.Order message that holds nothing but lines",
        ),
        sa.Column("status", sa.Text(), server_default="PENDING", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("total_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency_code", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False, comment="counts published events"),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("status IN ('PENDING', 'CONFIRMED', 'REJECTED', 'CANCELLED')", name="ck_orders_status"),
        sa.PrimaryKeyConstraint("order_id", name="pk_orders"),
        sa.UniqueConstraint("customer_id", "request_id", name="uq_orders_customer_id_request_id"),
    )
    op.create_index("ix_orders_customer_id_order_id", "orders", ["customer_id", "order_id"], unique=False)
    op.create_index("ix_orders_status_order_id", "orders", ["status", "order_id"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False, comment="the event's id on Kafka"),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False, comment="the aggregate: an order's id"),
        sa.Column("sequence", sa.BigInteger(), nullable=False, comment="the aggregate's version"),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=False),
        sa.Column("tracestate", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("subject", "sequence", name="uq_outbox_subject_sequence"),
    )
    op.create_index(
        "ix_outbox_published",
        "outbox",
        ["published_at"],
        unique=False,
        postgresql_where=sa.text("published_at IS NOT NULL"),
    )
    op.create_index(
        "ix_outbox_unpublished",
        "outbox",
        ["subject", "sequence"],
        unique=False,
        postgresql_where=sa.text("published_at IS NULL"),
    )
    op.create_table(
        "relay_lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_relay_lease"),
    )
    op.create_table(
        "order_timeline",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("span_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name="fk_order_timeline_order_id"),
        sa.PrimaryKeyConstraint("order_id", "position", name="pk_order_timeline"),
    )
    op.create_table(
        "sagas",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), server_default="RESERVING_STOCK", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it turned back; the first reason is kept"),
        sa.Column(
            "outcome", sa.Text(), nullable=True, comment="what a saga that turned back ends as: REJECTED or CANCELLED"
        ),
        sa.Column("card_token", sa.Text(), nullable=True, comment="erased when the saga ends"),
        sa.Column("step_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True, comment="null once the saga has ended"),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "timeline_position", sa.BigInteger(), server_default="1", nullable=False, comment="the newest entry's"
        ),
        sa.Column(
            "inventory_sequence", sa.BigInteger(), server_default="0", nullable=False, comment="the highest heard of it"
        ),
        sa.Column(
            "payment_sequence", sa.BigInteger(), server_default="0", nullable=False, comment="the highest heard of it"
        ),
        sa.Column("traceparent", sa.Text(), nullable=False, comment="where a step begun by a timer or a cancel hangs"),
        sa.Column("tracestate", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name="fk_sagas_order_id"),
        sa.PrimaryKeyConstraint("order_id", name="pk_sagas"),
    )
    op.create_index(
        "ix_sagas_deadline_at",
        "sagas",
        ["deadline_at"],
        unique=False,
        postgresql_where=sa.text("deadline_at IS NOT NULL"),
    )
    op.create_index("ix_sagas_step_at", "sagas", ["step_at", "order_id"], unique=False)
    op.execute("INSERT INTO relay_lease (name) VALUES ('outbox')")


def downgrade() -> None:
    for table in ("order_timeline", "sagas", "orders", "outbox", "relay_lease", "inbox", "command_outbox"):
        op.drop_table(table)
