"""Drives the inventory service's handlers as commands and events do, and reads what they left behind."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from google.protobuf.message import Message
from shop.inventory.v1 import inventory_events_pb2
from shop.inventory.v1 import inventory_service_pb2 as rpc
from shop.inventory.v1.inventory_pb2 import Reservation, ReservationLine, StockItem
from shop.order.v1.order_events_pb2 import OrderCancelled, OrderConfirmed
from uuid_utils.compat import uuid7

from chassis import inbox
from chassis.database import Database, Sql
from chassis.messages import Envelope
from chassis.telemetry import TraceContext
from chassis.testing import served
from services.inventory import handlers, stock
from services.inventory.__main__ import SHIPPING

_SHELVE = Sql(
    "INSERT stock",
    "INSERT INTO stock (sku, available, unit_price_minor, currency_code) VALUES (:sku, :available, :price, 'EUR')",
)
_STOCK = Sql("SELECT stock", "SELECT available, held FROM stock WHERE sku = :sku")
_STATE = Sql("SELECT reservations", "SELECT * FROM reservations WHERE order_id = :order_id")
_OUTBOX = Sql("SELECT outbox", "SELECT * FROM outbox WHERE subject = :order_id ORDER BY sequence")
_SENT = Sql("UPDATE outbox", "UPDATE outbox SET published_at = clock_timestamp() WHERE subject = :order_id")
_FORGET = Sql("DELETE outbox", "DELETE FROM outbox WHERE subject = :order_id")


class Shelf(NamedTuple):
    """How many pieces of an article are where."""

    available: int
    held: int


class Told(NamedTuple):
    """A row of the outbox."""

    id: UUID
    sequence: int
    event: Message
    waits: bool


class Driver:
    """One inventory service without its gRPC server and its consumer; `owner` puts articles on the shelf."""

    def __init__(self, database: Database, owner: Database) -> None:
        self.database, self._owner = database, owner

    async def article(self, available: int, *, sku: str = "", price_minor: int = 100) -> str:
        """A new article; its name is fresh unless told."""
        sku = sku or f"article-{uuid7()}"
        async with self._owner.single() as once:
            await once.run(_SHELVE, sku=sku, available=available, price=price_minor)
        return sku

    async def reserve(self, order_id: str, wanted: Mapping[str, int]) -> Reservation:
        lines = [ReservationLine(sku=sku, quantity=quantity) for sku, quantity in wanted.items()]
        request = rpc.ReserveStockRequest(order_id=order_id, lines=lines)
        return await served(self.database, handlers.reserve_stock, request)

    async def release(self, order_id: str) -> Reservation:
        return await served(self.database, handlers.release_stock, rpc.ReleaseStockRequest(order_id=order_id))

    async def reservation(self, order_id: str) -> Reservation:
        """As GetReservation answers."""
        async with self.database.single() as once:
            return await handlers.get_reservation(once, rpc.GetReservationRequest(order_id=order_id))

    async def restock(self, sku: str, quantity: int, request_id: str) -> StockItem:
        request = rpc.RestockRequest(sku=sku, quantity=quantity, request_id=request_id)
        return await served(self.database, stock.restock, request)

    async def confirmed(self, order_id: str, event_id: UUID | None = None) -> None:
        """The service hears OrderConfirmed."""
        await self.hears(OrderConfirmed(order_id=order_id), event_id=event_id)

    async def cancelled(self, order_id: str, event_id: UUID | None = None) -> None:
        """The service hears OrderCancelled."""
        await self.hears(OrderCancelled(order_id=order_id), event_id=event_id)

    async def hears(self, *events: OrderConfirmed | OrderCancelled, event_id: UUID | None = None) -> None:
        """The service hears events of different orders in one batch, as the consumer applies it."""
        envelopes = sorted((as_sent(event, event_id) for event in events), key=lambda envelope: envelope.subject)
        async with self.database.transaction() as transaction:
            new = await inbox.note(transaction, SHIPPING.group, [envelope.id for envelope in envelopes])
            for envelope in envelopes:
                if envelope.id in new:
                    event, handler = SHIPPING.route(envelope)
                    await handler(transaction, event, envelope)

    async def shelf(self, sku: str) -> Shelf:
        async with self.database.single() as once:
            row = await once.first(_STOCK, sku=sku)
        assert row is not None
        return Shelf(*row)

    async def state(self, order_id: str) -> str | None:
        """The state of the order's reservation, if it has one."""
        async with self.database.single() as once:
            row = await once.first(_STATE, order_id=order_id)
        return None if row is None else row.state

    async def outbox(self, order_id: str) -> list[Told]:
        """What the world is told about the order, oldest first."""
        async with self.database.single() as once:
            rows = await once.all(_OUTBOX, order_id=order_id)
        return [Told(row.id, row.sequence, _event(row.type, row.payload), row.published_at is None) for row in rows]

    async def events(self, order_id: str) -> list[Message]:
        """The events alone."""
        return [told.event for told in await self.outbox(order_id)]

    async def relayed(self, order_id: str) -> None:
        """Kafka has everything that the world is to be told about the order."""
        async with self.database.single() as once:
            await once.run(_SENT, order_id=order_id)

    async def forget(self, order_id: str) -> None:
        """What the world was told about the order is past its retention."""
        async with self.database.single() as once:
            await once.run(_FORGET, order_id=order_id)


def as_sent(event: OrderConfirmed | OrderCancelled, event_id: UUID | None = None) -> Envelope:
    """The event as the order service sends it."""
    return Envelope(
        id=event_id or uuid7(),
        type=event.DESCRIPTOR.full_name,
        source="order",
        subject=event.order_id,
        time=datetime.now(UTC),
        sequence=2,
        trace=TraceContext(),
        payload=event.SerializeToString(),
    )


def _event(full_name: str, payload: bytes) -> Message:
    return getattr(inventory_events_pb2, full_name.rpartition(".")[2]).FromString(payload)
