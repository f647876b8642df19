"""The tables of the inventory service, and how its rows read as messages."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from shop.inventory.v1.inventory_pb2 import PricedLine, Reservation, StockItem
from shop.money.v1.money_pb2 import Money
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
    func,
    text,
)

from chassis import tables
from chassis.database import Row

metadata = MetaData(naming_convention=tables.NAMING)

SKU = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def _sku() -> Text:
    # Bytewise, whatever the server's locale: pages and locks have one order everywhere.
    return Text(collation="C")


def _now() -> Any:
    return func.clock_timestamp()


stock = Table(
    "stock",
    metadata,
    Column("sku", _sku(), primary_key=True),
    Column("available", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False, server_default="0", comment="reserved and not shipped yet"),
    Column("unit_price_minor", BigInteger, nullable=False),
    Column("currency_code", Text, nullable=False),
    CheckConstraint("sku ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name="sku"),
    CheckConstraint("available >= 0", name="available"),
    CheckConstraint("held >= 0", name="held"),
    # 100 lines of 10,000 pieces at this price are the most that a money message can say.
    CheckConstraint("unit_price_minor BETWEEN 0 AND 1000000", name="unit_price_minor"),
    # One currency, so that the lines of an order always have a sum.
    CheckConstraint("currency_code = 'EUR'", name="currency_code"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="1", comment="counts published events"),
    Column("total_minor", BigInteger, comment="null unless stock was held"),
    Column("currency_code", Text, comment="null unless stock was held"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=_now()),
    CheckConstraint("state IN ('HELD', 'REFUSED', 'RELEASED', 'SHIPPED', 'RETURNED')", name="state"),
    CheckConstraint("(total_minor IS NULL) = (currency_code IS NULL)", name="total"),
    CheckConstraint("total_minor IS NOT NULL OR state IN ('REFUSED', 'RELEASED')", name="priced"),
    # What is held is held since its row was made.
    Index("ix_reservations_held", "created_at", postgresql_where=text("state = 'HELD'")),
)

reservation_lines = Table(
    "reservation_lines",
    metadata,
    Column("order_id", Text, ForeignKey("reservations.order_id"), nullable=False),
    Column("sku", _sku(), ForeignKey("stock.sku"), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("unit_price_minor", BigInteger, nullable=False, comment="the price when the stock was held"),
    PrimaryKeyConstraint("order_id", "sku"),
    CheckConstraint("quantity > 0", name="quantity"),
)

# Kept for good: forgetting a request would let it add again, and a restock is rare.
restocks = Table(
    "restocks",
    metadata,
    Column("sku", _sku(), ForeignKey("stock.sku"), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("request_fingerprint", LargeBinary, nullable=False, comment="SHA-256 of the request without its id"),
    Column("answer", LargeBinary, comment="the shop.inventory.v1.StockItem that was answered"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now()),
    PrimaryKeyConstraint("sku", "request_id"),
)

outbox = tables.outbox(metadata)
relay_lease = tables.relay_lease(metadata)
inbox = tables.inbox(metadata)


def timestamp(moment: datetime) -> Timestamp:
    """A protobuf timestamp."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def stock_item(row: Row) -> StockItem:
    """A row of stock as a message."""
    price = Money(amount_minor=row.unit_price_minor, currency_code=row.currency_code)
    return StockItem(sku=row.sku, available=row.available, held=row.held, unit_price=price)


def reservation(rows: Sequence[Row]) -> Reservation:
    """A reservation from its row joined with its lines: one row for each line, or a single one without a line."""
    first = rows[0]
    message = Reservation(
        order_id=first.order_id,
        state=first.state,
        update_time=timestamp(first.updated_at),
    )
    if first.total_minor is not None:
        message.total.CopyFrom(Money(amount_minor=first.total_minor, currency_code=first.currency_code))
        message.lines.extend(priced_lines(rows))
    return message


def priced_lines(rows: Sequence[Row]) -> list[PricedLine]:
    """The lines of a reservation joined with its lines; none if it never held anything."""
    return [
        PricedLine(
            sku=row.sku,
            quantity=row.quantity,
            unit_price=Money(amount_minor=row.unit_price_minor, currency_code=row.currency_code),
        )
        for row in rows
        if row.sku is not None
    ]
