"""The tables of the order service, and how its rows read as messages."""

from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from shop.money.v1.money_pb2 import Money
from shop.order.v1.order_pb2 import Order, OrderLine, Saga, TimelineEntry
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)

from chassis import tables
from chassis.database import Row
from chassis.reader import SECRET

metadata = MetaData(naming_convention=tables.NAMING)


def _now() -> Any:
    return func.clock_timestamp()


orders = Table(
    "orders",
    metadata,
    Column("order_id", Text, primary_key=True, comment="a UUIDv7, so that newer orders sort higher"),
    Column("customer_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    # Secret too: the card token is part of the request, and whoever knows the rest could try tokens.
    Column(
        "request_fingerprint",
        LargeBinary,
        nullable=False,
        comment="SHA-256 of the request without its id",
        info=SECRET,
    ),
    Column("lines", LargeBinary, nullable=False, comment="a shop.order.v1.Order message that holds nothing but lines"),
    Column("status", Text, nullable=False, server_default="PENDING"),
    Column("reason", Text),
    Column("total_minor", BigInteger),
    Column("currency_code", Text),
    Column("trace_id", Text, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="1", comment="counts published events"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=_now()),
    UniqueConstraint("customer_id", "request_id"),
    CheckConstraint("status IN ('PENDING', 'CONFIRMED', 'REJECTED', 'CANCELLED')", name="status"),
    Index("ix_orders_customer_id_order_id", "customer_id", "order_id"),
    Index("ix_orders_status_order_id", "status", "order_id"),
    Index("ix_orders_customer_id_status_order_id", "customer_id", "status", "order_id"),
)

# A saga that has ended stays: a cancel needs it, and so does an event that comes late. So whatever looks for those that
# are under way, or for some of them, has an index that leads there.
sagas = Table(
    "sagas",
    metadata,
    Column("order_id", Text, ForeignKey("orders.order_id"), primary_key=True),
    Column("step", Text, nullable=False, server_default="RESERVING_STOCK"),
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("reason", Text, comment="why it turned back; the first reason is kept"),
    Column("outcome", Text, comment="what a saga that turned back ends as: REJECTED or CANCELLED"),
    Column("card_token", Text, comment="erased when the saga ends", info=SECRET),
    Column("step_at", DateTime(timezone=True), nullable=False, server_default=_now()),
    Column("deadline_at", DateTime(timezone=True), comment="null once the saga has ended"),
    Column("parked_at", DateTime(timezone=True)),
    Column("timeline_position", BigInteger, nullable=False, server_default="1", comment="the newest entry's"),
    Column("inventory_sequence", BigInteger, nullable=False, server_default="0", comment="the highest heard of it"),
    Column("payment_sequence", BigInteger, nullable=False, server_default="0", comment="the highest heard of it"),
    Column("traceparent", Text, nullable=False, comment="the order's span: each turn of the saga is its child"),
    Column("tracestate", Text, nullable=False),
    Column("story_traceparent", Text, nullable=False, server_default="", comment="the same, of a late request"),
    Column("story_tracestate", Text, nullable=False, server_default=""),
    Column("undo_awaited_at", DateTime(timezone=True), comment="when the confirmed order was cancelled"),
    Column("refund_awaited_after", BigInteger, comment="the payment's version then; the refund is a later one"),
    Column(
        "goods_awaited_after", BigInteger, comment="the reservation's version then; the goods' return is a later one"
    ),
    Index("ix_sagas_deadline_at", "deadline_at", postgresql_where=text("deadline_at IS NOT NULL")),
    Index("ix_sagas_step_at", "step_at", "order_id"),
    Index("ix_sagas_step_step_at_order_id", "step", "step_at", "order_id"),
    Index("ix_sagas_parked_step_at", "step_at", "order_id", postgresql_where=text("parked_at IS NOT NULL")),
    Index("ix_sagas_parked_step", "step", "step_at", "order_id", postgresql_where=text("parked_at IS NOT NULL")),
    # A saga leaves them by hearing of a later version, whoever hears it.
    Index(
        "ix_sagas_refund_awaited",
        "undo_awaited_at",
        postgresql_where=text("payment_sequence <= refund_awaited_after"),
    ),
    Index(
        "ix_sagas_goods_awaited",
        "undo_awaited_at",
        postgresql_where=text("inventory_sequence <= goods_awaited_after"),
    ),
)

order_timeline = Table(
    "order_timeline",
    metadata,
    Column("order_id", Text, ForeignKey("orders.order_id"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("happened_at", DateTime(timezone=True), nullable=False),
    Column("status", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("span_id", Text, nullable=False),
    Column("detail", Text, nullable=False, server_default="", comment="what the event's name does not say"),
    PrimaryKeyConstraint("order_id", "position"),
)

outbox = tables.outbox(metadata)
relay_lease = tables.relay_lease(metadata)
inbox = tables.inbox(metadata)
command_outbox = tables.command_outbox(metadata)


def timestamp(moment: datetime | None) -> Timestamp | None:
    """A protobuf timestamp, or None where there is no moment."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def order_message(row: Row) -> Order:
    """An order's row as its customer sees it."""
    order = Order(
        order_id=row.order_id,
        customer_id=row.customer_id,
        lines=order_lines(row.lines),
        status=row.status,
        reason=row.reason,
        trace_id=row.trace_id,
        create_time=timestamp(row.created_at),
        update_time=timestamp(row.updated_at),
    )
    if row.total_minor is not None:
        order.total.CopyFrom(Money(amount_minor=row.total_minor, currency_code=row.currency_code))
    return order


def order_lines(stored: bytes) -> list[OrderLine]:
    """The lines as they were stored with the order."""
    return list(Order.FromString(stored).lines)


def saga_message(row: Row) -> Saga:
    """A saga's row as an operator sees it."""
    return Saga(
        order_id=row.order_id,
        step=row.step,
        reason=row.reason,
        attempt=row.attempt,
        step_time=timestamp(row.step_at),
        deadline=timestamp(row.deadline_at),
        park_time=timestamp(row.parked_at),
    )


def timeline_message(row: Row) -> TimelineEntry:
    """A timeline row as a message."""
    return TimelineEntry(
        position=row.position,
        event=row.event,
        service=row.service,
        time=timestamp(row.happened_at),
        status=row.status,
        trace_id=row.trace_id,
        span_id=row.span_id,
        detail=row.detail,
    )
