"""The tables of the payment service, and how its rows read as messages."""

from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from shop.money.v1.money_pb2 import Money
from shop.payment.v1.payment_pb2 import LedgerEntry, Payment
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)

from chassis import tables
from chassis.database import Row
from chassis.reader import SECRET

metadata = MetaData(naming_convention=tables.NAMING)


def _now() -> Any:
    return func.clock_timestamp()


payments = Table(
    "payments",
    metadata,
    Column(
        "payment_id",
        Uuid,
        primary_key=True,
        comment="also the idempotency key at the card network; follows from the order's id",
    ),
    Column("order_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("amount_minor", BigInteger, comment="null on a tombstone"),
    Column("currency_code", Text, comment="null on a tombstone"),
    Column("card_token", Text, comment="erased once the charge is settled", info=SECRET),
    Column("decline_code", Text),
    Column("version", BigInteger, nullable=False, server_default="0", comment="counts published events"),
    Column("refund_requested_at", DateTime(timezone=True), comment="since when somebody wants the money back"),
    Column("unclear", Text, comment="why the network's last answer did not fit; null once the payment moves"),
    Column("attempts", Integer, nullable=False, server_default="0", comment="of the open charge or refund"),
    Column("next_attempt_at", DateTime(timezone=True), comment="null when nothing is open; also the end of a lease"),
    Column("traceparent", Text, nullable=False, comment="where the open charge or refund hangs"),
    Column("tracestate", Text, nullable=False),
    Column("attempt_traceparent", Text, nullable=False, server_default="", comment="the last attempt without answer"),
    Column("attempt_tracestate", Text, nullable=False, server_default=""),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=_now()),
    UniqueConstraint("order_id"),
    CheckConstraint("state IN ('CHARGING', 'CHARGED', 'DECLINED', 'REFUNDED', 'VOIDED')", name="state"),
    CheckConstraint("(amount_minor IS NULL) = (currency_code IS NULL)", name="amount"),
    CheckConstraint("amount_minor >= 0", name="amount_minor"),
    # A tombstone is open until the network has said that it holds nothing under its key.
    CheckConstraint(
        "amount_minor IS NOT NULL OR state IN ('VOIDED', 'REFUNDED')"
        " OR (state = 'CHARGING' AND refund_requested_at IS NOT NULL)",
        name="tombstone",
    ),
    CheckConstraint("(card_token IS NOT NULL) = (state = 'CHARGING' AND amount_minor IS NOT NULL)", name="card_token"),
    CheckConstraint(
        "CASE state WHEN 'CHARGING' THEN next_attempt_at IS NOT NULL"
        " WHEN 'CHARGED' THEN (next_attempt_at IS NOT NULL) = (refund_requested_at IS NOT NULL)"
        " WHEN 'REFUNDED' THEN next_attempt_at IS NULL"
        # Nothing was taken, so it was told; then the network said otherwise.
        " ELSE next_attempt_at IS NULL OR refund_requested_at IS NOT NULL END",
        name="open",
    ),
    Index("ix_payments_next_attempt_at", "next_attempt_at", postgresql_where=text("next_attempt_at IS NOT NULL")),
    Index(
        "ix_payments_fresh",
        "attempts",
        text("next_attempt_at DESC"),
        postgresql_where=text("next_attempt_at IS NOT NULL AND attempts < 2"),
    ),
    Index(
        "ix_payments_repeated",
        "next_attempt_at",
        postgresql_where=text("next_attempt_at IS NOT NULL AND attempts >= 2"),
    ),
    Index(
        "ix_payments_unclear",
        "next_attempt_at",
        postgresql_where=text("next_attempt_at IS NOT NULL AND unclear IS NOT NULL"),
    ),
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("payment_id", Uuid, ForeignKey("payments.payment_id"), nullable=False),
    Column("posting", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False, comment="a debit is positive, a credit negative"),
    Column("currency_code", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now()),
    # Each payment is charged once and refunded or corrected once, whatever the code believes.
    PrimaryKeyConstraint("payment_id", "posting", "account"),
    CheckConstraint("posting IN ('charge', 'refund', 'correction')", name="posting"),
    CheckConstraint("account IN ('card_network', 'customer_payments')", name="account"),
)

outbox = tables.outbox(metadata)
relay_lease = tables.relay_lease(metadata)
inbox = tables.inbox(metadata)


def timestamp(moment: datetime) -> Timestamp:
    """A protobuf timestamp."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def money(row: Row) -> Money | None:
    """How much a payment is about; None on a tombstone."""
    if row.amount_minor is None:
        return None
    return Money(amount_minor=row.amount_minor, currency_code=row.currency_code)


def payment_message(row: Row) -> Payment:
    """A payment's row as a message."""
    return Payment(
        payment_id=str(row.payment_id),
        order_id=row.order_id,
        state=row.state,
        amount=money(row),
        refund_pending=row.refund_requested_at is not None and row.next_attempt_at is not None,
        create_time=timestamp(row.created_at),
        update_time=timestamp(row.updated_at),
    )


def ledger_entry(row: Row) -> LedgerEntry:
    """A payment's row joined with an entry of its, as the entry's message."""
    return LedgerEntry(
        posting=row.posting.upper(),
        account=row.account.upper(),
        amount=Money(amount_minor=row.entry_minor, currency_code=row.entry_currency),
        create_time=timestamp(row.booked_at),
    )
