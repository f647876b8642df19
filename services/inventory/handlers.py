"""What inventory does for an order: one function for each command and each event that it hears.

    ReserveStock ─▶ HELD ── OrderConfirmed ─▶ SHIPPED ── OrderCancelled ─▶ RETURNED
                │     └──── ReleaseStock, OrderCancelled ─▶ RELEASED
                └─▶ REFUSED ──── ReleaseStock ────────────────▲ ◀─── ReleaseStock, before anything was reserved

Each runs in a transaction that its caller commits. The reservation's row decides; its version counts the events told.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial

from google.protobuf.message import Message
from opentelemetry.trace import get_current_span
from shop.inventory.v1 import inventory_service_pb2 as rpc
from shop.inventory.v1.inventory_events_pb2 import ReservationRefused, StockReleased, StockReserved, StockReturned
from shop.inventory.v1.inventory_pb2 import Reservation
from shop.order.v1.order_events_pb2 import OrderCancelled, OrderConfirmed

from chassis import outbox, telemetry
from chassis.database import Row, Sql, Transaction
from chassis.errors import NotFound, WrongState
from chassis.messages import Envelope
from services.inventory import model, stock

TOPIC = "inventory.events"

# From which state to which: a reservation in any other state stays as it is.
RELEASE = {"HELD": "RELEASED", "REFUSED": "RELEASED"}
SHIP = {"HELD": "SHIPPED"}
TAKE_BACK = {"HELD": "RELEASED", "SHIPPED": "RETURNED"}

# A claim holds nothing yet, so it reads as refused; whoever makes it decides, and whoever comes second waits for that.
_CLAIM = Sql(
    "INSERT reservations",
    """
    INSERT INTO reservations (order_id, state) VALUES (:order_id, 'REFUSED') ON CONFLICT DO NOTHING RETURNING *
    """,
)
# The rows are locked by article, so that two orders never wait for each other in a circle, and judged as they are once
# they are locked. What follows from the verdict is part of the statement, so that a hot row is not locked for another
# round trip. It is computed from the locked values: an UPDATE's own view of the row is as old as the statement, and a
# CHECK would fail by it even if the row, as it is by now, has enough.
_TAKE = Sql(
    "UPDATE stock",
    """
    WITH locked AS (
        SELECT wanted.quantity, stock.*
        FROM unnest(CAST(:skus AS text[]), CAST(:quantities AS bigint[])) AS wanted (sku, quantity)
        JOIN stock ON stock.sku = wanted.sku
        ORDER BY stock.sku
        FOR NO KEY UPDATE OF stock
    ), verdict AS (
        SELECT count(*) = cardinality(CAST(:skus AS text[])) AND bool_and(available >= quantity) AS enough,
               sum(quantity * unit_price_minor) AS total_minor, min(currency_code) AS currency_code
        FROM locked
    ), reservation AS (
        UPDATE reservations
        SET state = 'HELD', total_minor = verdict.total_minor, currency_code = verdict.currency_code
        FROM verdict WHERE order_id = :order_id AND enough
        RETURNING reservations.*
    ), taken AS (
        UPDATE stock SET available = locked.available - locked.quantity, held = locked.held + locked.quantity
        FROM locked, reservation WHERE stock.sku = locked.sku
    ), lines AS (
        INSERT INTO reservation_lines (order_id, sku, quantity, unit_price_minor)
        SELECT order_id, sku, quantity, unit_price_minor FROM locked, reservation
    )
    SELECT reservation.*, locked.sku, locked.quantity, locked.available, locked.unit_price_minor
    FROM locked LEFT JOIN reservation ON true
    ORDER BY locked.sku
    """,
)
_ENTOMB = Sql(
    "INSERT reservations",
    """
    INSERT INTO reservations (order_id, state) VALUES (:order_id, 'RELEASED') ON CONFLICT DO NOTHING RETURNING *
    """,
)
# A condition and a change in one: a state that another transaction changes meanwhile is judged again as it then is.
_MOVE = Sql(
    "UPDATE reservations",
    """
    WITH moved AS (
        UPDATE reservations
        SET state = CAST(:becomes AS jsonb) ->> state, version = version + :events, updated_at = clock_timestamp()
        WHERE order_id = :order_id AND CAST(:becomes AS jsonb) ->> state IS NOT NULL
        RETURNING *
    )
    SELECT moved.*, line.sku, line.quantity, line.unit_price_minor
    FROM moved LEFT JOIN reservation_lines AS line ON line.order_id = moved.order_id
    ORDER BY line.sku
    """,
)
_LOCK = Sql(
    "SELECT reservations",
    """
    SELECT reservations.*, line.sku, line.quantity, line.unit_price_minor
    FROM reservations LEFT JOIN reservation_lines AS line ON line.order_id = reservations.order_id
    WHERE reservations.order_id = :order_id
    ORDER BY line.sku
    FOR UPDATE OF reservations
    """,
)

_READ = Sql(
    "SELECT reservations",
    """
    SELECT reservations.*, line.sku, line.quantity, line.unit_price_minor
    FROM reservations LEFT JOIN reservation_lines AS line ON line.order_id = reservations.order_id
    WHERE reservations.order_id = :order_id
    ORDER BY line.sku
    """,
)

_OUTCOMES = telemetry.meter.create_counter(
    "shop.reservations", description="What commands and events did to reservations, by outcome."
)


async def reserve_stock(transaction: Transaction, request: rpc.ReserveStockRequest) -> Reservation:
    """Hold all lines or none, at most once for an order; the outcome is an event.

    A reservation that stands already, be it a tombstone, is the answer, and its newest event is told again.
    """
    claimed = await transaction.all(_CLAIM, order_id=request.order_id)
    if not claimed:
        return await _repeat(transaction, await _lock(transaction, request.order_id))
    wanted = {line.sku: line.quantity for line in request.lines}
    found = await transaction.all(_TAKE, order_id=request.order_id, skus=list(wanted), quantities=list(wanted.values()))
    if found and found[0].state == "HELD":
        reservation = model.reservation(found)
        outcome = StockReserved(order_id=request.order_id, lines=reservation.lines, total=reservation.total)
    else:
        reservation = model.reservation(claimed)
        outcome = _refusal(request.order_id, wanted, {row.sku: row.available for row in found})
    _tell(transaction, claimed[0], outcome)
    _note(transaction, Reservation.State.Name(reservation.state))
    return reservation


async def release_stock(transaction: Transaction, request: rpc.ReleaseStockRequest) -> Reservation:
    """Give back what the order holds; ends in StockReleased, whatever is found.

    Raises:
        WrongState: the goods have left, or came back from there. Only a cancelled order undoes that: what the caller
            thinks of this order is wrong, and must be looked at.
    """
    entombed = await transaction.all(_ENTOMB, order_id=request.order_id)
    if entombed:
        _tell(transaction, entombed[0], StockReleased(order_id=request.order_id))
        _note(transaction, "TOMBSTONE")
        return model.reservation(entombed)
    moved = await _move(transaction, request.order_id, RELEASE, events=1)
    if moved:
        _tell(transaction, moved[0], StockReleased(order_id=request.order_id, lines=model.priced_lines(moved)))
        return model.reservation(moved)
    found = await _lock(transaction, request.order_id)
    if found[0].state != "RELEASED":
        raise WrongState(f"the reservation is {found[0].state}: only a cancelled order brings shipped goods back")
    return await _repeat(transaction, found)


async def get_reservation(transaction: Transaction, request: rpc.GetReservationRequest) -> Reservation:
    """What an order holds, held or gave back.

    Raises:
        NotFound: the order has no reservation, as far as we have heard.
    """
    found = await transaction.all(_READ, order_id=request.order_id)
    if not found:
        raise NotFound("the order has no reservation", field="order_id")
    return model.reservation(found)


async def ship_reservation(transaction: Transaction, event: OrderConfirmed, envelope: Envelope) -> None:
    """The goods leave, if they are held."""
    if not await _move(transaction, event.order_id, SHIP, events=0):
        _note(transaction, "UNCHANGED")


async def take_back(transaction: Transaction, event: OrderCancelled, envelope: Envelope) -> None:
    """Held goods go back, and so do shipped ones; there is nothing else to undo."""
    moved = await _move(transaction, event.order_id, TAKE_BACK, events=1)
    if not moved:
        _note(transaction, "UNCHANGED")
    else:
        happened = StockReleased if moved[0].state == "RELEASED" else StockReturned
        _tell(transaction, moved[0], happened(order_id=event.order_id, lines=model.priced_lines(moved)))


def _refusal(order_id: str, wanted: Mapping[str, int], available: Mapping[str, int]) -> ReservationRefused:
    """Why nothing was taken: an article that nobody sells, else one of which too few are left; the first by name."""
    if unknown := wanted.keys() - available.keys():
        return ReservationRefused(order_id=order_id, reason=ReservationRefused.UNKNOWN_SKU, sku=min(unknown))
    short = min(sku for sku, quantity in wanted.items() if available[sku] < quantity)
    return ReservationRefused(order_id=order_id, reason=ReservationRefused.OUT_OF_STOCK, sku=short)


async def _move(transaction: Transaction, order_id: str, becomes: Mapping[str, str], *, events: int) -> Sequence[Row]:
    """Move the reservation and its goods on; no rows if it does not exist or `becomes` does not name its state."""
    moved = await transaction.all(_MOVE, order_id=order_id, becomes=json.dumps(becomes), events=events)
    if moved:
        _note(transaction, moved[0].state)
    if moved and moved[0].sku is not None:
        stock.move(transaction, moved, moved[0].state)
    return moved


async def _lock(transaction: Transaction, order_id: str) -> Sequence[Row]:
    """The reservation, which exists, joined with its lines, and kept from changing until the commit."""
    return await transaction.all(_LOCK, order_id=order_id)


async def _repeat(transaction: Transaction, found: Sequence[Row]) -> Reservation:
    """The answer to a command whose work is done; its outcome is told again, in case it was lost."""
    await outbox.republish(transaction, subject=found[0].order_id, sequence=found[0].version)
    _note(transaction, "REPEATED")
    return model.reservation(found)


def _tell(transaction: Transaction, reservation: Row, event: Message) -> None:
    outbox.publish(transaction, TOPIC, event, subject=reservation.order_id, sequence=reservation.version)


def _note(transaction: Transaction, outcome: str) -> None:
    """Say on the span and in the metrics what came of it."""
    get_current_span().set_attribute("shop.reservation.outcome", outcome)
    transaction.after_commit(partial(_OUTCOMES.add, 1, {"outcome": outcome}))
