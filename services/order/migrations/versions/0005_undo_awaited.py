"""What a cancelled order still awaits: its refund, and its goods' return.

Every column may be null, so a process of the version before may run beside one of this: it notes no cancel, and what it
hears counts, for it writes the versions that it has heard. Orders that were cancelled before are looked through once.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_AWAITED = """
    UPDATE sagas s SET undo_awaited_at = o.updated_at,
        refund_awaited_after = CASE WHEN NOT heard.refund THEN s.payment_sequence END,
        goods_awaited_after = CASE WHEN NOT heard.goods THEN s.inventory_sequence END
    FROM orders o CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(event IN ('shop.payment.v1.PaymentRefunded', 'shop.payment.v1.PaymentVoided')),
                        false) AS refund,
               coalesce(bool_or(event IN ('shop.inventory.v1.StockReleased', 'shop.inventory.v1.StockReturned')),
                        false) AS goods
        FROM order_timeline t WHERE t.order_id = o.order_id
    ) AS heard
    WHERE o.status = 'CANCELLED' AND s.order_id = o.order_id AND s.step = 'CONFIRMED'
      AND NOT (heard.refund AND heard.goods)
"""


def upgrade() -> None:
    op.add_column(
        "sagas",
        sa.Column(
            "undo_awaited_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the confirmed order was cancelled",
        ),
    )
    for name, comment in (
        ("refund_awaited_after", "the payment's version then; the refund is a later one"),
        ("goods_awaited_after", "the reservation's version then; the goods' return is a later one"),
    ):
        op.add_column("sagas", sa.Column(name, sa.BigInteger(), nullable=True, comment=comment))
    op.execute(_AWAITED)
    for name, condition in (
        ("ix_sagas_refund_awaited", "payment_sequence <= refund_awaited_after"),
        ("ix_sagas_goods_awaited", "inventory_sequence <= goods_awaited_after"),
    ):
        op.create_index(name, "sagas", ["undo_awaited_at"], unique=False, postgresql_where=sa.text(condition))


def downgrade() -> None:
    for name in ("ix_sagas_goods_awaited", "ix_sagas_refund_awaited"):
        op.drop_index(name, "sagas")
    for name in ("goods_awaited_after", "refund_awaited_after", "undo_awaited_at"):
        op.drop_column("sagas", name)
