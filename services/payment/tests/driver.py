"""Drives the payment service's handlers and its card worker as commands, events and time do, and reads what is left."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from google.protobuf.message import Message
from shop.money.v1.money_pb2 import Money
from shop.order.v1.order_events_pb2 import OrderCancelled
from shop.payment.v1 import payment_events_pb2
from shop.payment.v1 import payment_service_pb2 as rpc
from shop.payment.v1.payment_pb2 import Payment
from uuid_utils.compat import uuid7

from chassis import inbox
from chassis.database import Database, Row, Sql
from chassis.messages import Envelope
from chassis.telemetry import TraceContext
from chassis.testing import served
from services.payment import handlers
from services.payment.__main__ import REFUNDS
from services.payment.card_network import CardNetwork
from services.payment.card_worker import CardWorker
from services.payment.places import FIRST_ATTEMPTS, Places

PRICE = 1250

_ROW = Sql("SELECT payments", "SELECT * FROM payments WHERE order_id = :order_id")
_EXPIRE = Sql(
    "UPDATE payments",
    """
    UPDATE payments SET next_attempt_at = clock_timestamp()
    WHERE order_id = :order_id AND next_attempt_at IS NOT NULL
    """,
)
_COUNT = Sql("UPDATE payments", "UPDATE payments SET attempts = :attempts WHERE order_id = :order_id")
_ENTRIES = Sql(
    "SELECT ledger_entries",
    """
    SELECT posting, account, amount_minor FROM ledger_entries
    WHERE payment_id = (SELECT payment_id FROM payments WHERE order_id = :order_id)
    ORDER BY posting, account
    """,
)
_OUTBOX = Sql("SELECT outbox", "SELECT * FROM outbox WHERE subject = :order_id ORDER BY sequence")
_SENT = Sql("UPDATE outbox", "UPDATE outbox SET published_at = clock_timestamp() WHERE subject = :order_id")


class Told(NamedTuple):
    """A row of the outbox."""

    id: UUID
    sequence: int
    event: Message
    waits: bool


class Driver:
    """One payment service without its gRPC server and its consumer; its worker moves only when it is told to."""

    def __init__(self, database: Database, network: CardNetwork, *, timeout_seconds: float = 5.0) -> None:
        self.database, self.network = database, network
        self.worker = CardWorker(database, network, stopping=asyncio.Event(), timeout_seconds=timeout_seconds)

    async def charge(self, order_id: str, card_token: str = "tok_visa", amount_minor: int = PRICE) -> Payment:
        amount = Money(amount_minor=amount_minor, currency_code="EUR")
        request = rpc.ChargePaymentRequest(order_id=order_id, amount=amount, card_token=card_token)
        return await served(self.database, handlers.charge_payment, request)

    async def refund(self, order_id: str) -> Payment:
        return await served(self.database, handlers.refund_payment, rpc.RefundPaymentRequest(order_id=order_id))

    async def get(self, order_id: str) -> Payment:
        async with self.database.single() as once:
            return await handlers.get_payment(once, rpc.GetPaymentRequest(order_id=order_id))

    async def cancelled(self, order_id: str, event_id: UUID | None = None) -> None:
        """The service hears OrderCancelled, as its consumer applies it."""
        event = OrderCancelled(order_id=order_id)
        envelope = Envelope(
            id=event_id or uuid7(),
            type=event.DESCRIPTOR.full_name,
            source="order",
            subject=order_id,
            time=datetime.now(UTC),
            sequence=2,
            trace=TraceContext(),
            payload=event.SerializeToString(),
        )
        async with self.database.transaction() as transaction:
            if await inbox.note(transaction, REFUNDS.group, [envelope.id]):
                decoded, handler = REFUNDS.route(envelope)
                await handler(transaction, decoded, envelope)

    async def claim(self, order_id: str) -> Row | None:
        """Lease the order's payment if it is due."""
        # Leases of other tests' payments run out again.
        rows: Sequence[Row] = await self.worker.claim(1000, 1000)
        return next((row for row in rows if row.order_id == order_id), None)

    async def expire(self, order_id: str) -> None:
        """The lease of the order's payment, or its pause, runs out."""
        async with self.database.single() as once:
            await once.run(_EXPIRE, order_id=order_id)

    async def attempt(self, order_id: str) -> bool:
        """One attempt at what is open, however far away the next one is; whether there was anything to do."""
        await self.expire(order_id)
        row = await self.claim(order_id)
        if row is None:
            return False
        await self.work(row)
        return True

    async def attempted(self, order_id: str, attempts: int) -> None:
        """So many attempts were made."""
        async with self.database.single() as once:
            await once.run(_COUNT, order_id=order_id, attempts=attempts)

    async def work(self, row: Row) -> None:
        """One attempt at a leased payment, which has all the time that a call may take."""
        await self.worker.work(row, Places(2, lambda: None).take(FIRST_ATTEMPTS + 1))

    async def settle(self, order_id: str, *, attempts_max: int = 12) -> int:
        """Attempts until nothing is open; returns how many it took."""
        for made in range(attempts_max + 1):
            if not await self.attempt(order_id):
                return made
        raise AssertionError(f"still open after {attempts_max} attempts: {await self.row(order_id)}")

    async def row(self, order_id: str) -> Any:
        async with self.database.single() as once:
            return await once.first(_ROW, order_id=order_id)

    async def entries(self, order_id: str) -> list[tuple[str, str, int]]:
        """Posting, account and amount of each ledger entry."""
        async with self.database.single() as once:
            return [tuple(row) for row in await once.all(_ENTRIES, order_id=order_id)]

    async def outbox(self, order_id: str) -> list[Told]:
        """What the world is told about the order's payment, oldest first."""
        async with self.database.single() as once:
            rows = await once.all(_OUTBOX, order_id=order_id)
        return [Told(row.id, row.sequence, _event(row.type, row.payload), row.published_at is None) for row in rows]

    async def told(self, order_id: str) -> list[str]:
        """The events' names; they are numbered without a gap."""
        outbox = await self.outbox(order_id)
        assert [told.sequence for told in outbox] == list(range(1, len(outbox) + 1))
        return [type(told.event).__name__ for told in outbox]

    async def relayed(self, order_id: str) -> None:
        """Kafka has everything that the world is to be told."""
        async with self.database.single() as once:
            await once.run(_SENT, order_id=order_id)


def _event(full_name: str, payload: bytes) -> Message:
    return getattr(payment_events_pb2, full_name.rpartition(".")[2]).FromString(payload)
