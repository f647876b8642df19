"""What the order service does: one function for each command, and one for each thing that moves the saga.

Each runs in a transaction that its caller commits, and locks the order and its saga before it decides.
"""

import hashlib
from datetime import datetime
from functools import partial

from opentelemetry.trace import get_current_span
from shop.inventory.v1.inventory_events_pb2 import StockReserved
from shop.inventory.v1.inventory_pb2 import ReservationLine
from shop.inventory.v1.inventory_service_pb2 import ReserveStockRequest
from shop.order.v1.order_events_pb2 import OrderCancelled, OrderPlaced
from shop.order.v1.order_pb2 import Order
from shop.order.v1.order_pb2 import Saga as SagaMessage
from shop.order.v1.order_service_pb2 import PlaceOrderRequest
from uuid_utils.compat import uuid7

from chassis import commands, dispatcher, outbox, telemetry
from chassis.database import Sql, Transaction
from chassis.errors import KeyReused, NotFound, WrongState
from chassis.messages import Envelope
from chassis.telemetry import TraceContext
from services.order import fulfilment, model, orchestrator, saga, story, timeline
from services.order.fulfilment import Fulfilment
from services.order.orchestrator import COMMANDS, FromOrder
from services.order.saga import CancelRequested, CommandRefused, DeadlinePassed, Reason, RetryRequested, Step
from services.order.settings import OrderSettings

_DEADLINES = telemetry.meter.create_counter("shop.saga.deadlines", description="Deadlines that passed, by step.")
_MISORDERED = telemetry.meter.create_counter(
    "shop.saga.misordered", description="Events that came after a gap in their versions, or after a later version."
)
_UNKNOWN = telemetry.meter.create_counter(
    "shop.saga.unknown_orders", description="Events about orders that nobody placed, and for which nothing is taken."
)

# One statement for everything an order begins with; nothing is inserted, and nothing returned, when the key is known.
_PLACE = Sql(
    "INSERT orders",
    """
    WITH placed AS (
        INSERT INTO orders (order_id, customer_id, request_id, request_fingerprint, lines, trace_id,
                            created_at, updated_at)
        SELECT :order_id, :customer_id, :request_id, CAST(:fingerprint AS bytea), CAST(:lines AS bytea), :trace_id,
               moment, moment
        FROM clock_timestamp() AS moment
        ON CONFLICT (customer_id, request_id) DO NOTHING
        RETURNING *
    ), saga AS (
        INSERT INTO sagas (order_id, card_token, deadline_at, traceparent, tracestate)
        SELECT order_id, :card_token, clock_timestamp() + make_interval(secs => :patience_seconds),
               :traceparent, :tracestate
        FROM placed
    ), entry AS (
        INSERT INTO order_timeline (order_id, position, event, service, happened_at, status, trace_id, span_id)
        SELECT order_id, 1, :event, 'order', created_at, status, :trace_id, :span_id FROM placed
    )
    SELECT * FROM placed
    """,
)
_FIND_REQUEST = Sql(
    "SELECT orders",
    """
    SELECT o.*, s.traceparent, s.tracestate FROM orders o JOIN sagas s USING (order_id)
    WHERE customer_id = :customer_id AND request_id = :request_id
    """,
)
_READ = Sql("SELECT orders", "SELECT * FROM orders WHERE order_id = :order_id")
_READ_SAGA = Sql("SELECT sagas", "SELECT * FROM sagas WHERE order_id = :order_id")


class Superseded(Exception):
    """The deadline that passed is not the saga's any more; nothing is to be done."""


async def place_order(transaction: Transaction, request: PlaceOrderRequest, settings: OrderSettings) -> Order:
    """Store an order and promise to fulfil it; the same request again gets the same answer.

    Raises:
        KeyReused: the request id belongs to an order with other content.
    """
    order_id, fingerprint = str(uuid7()), _fingerprint(request)
    telemetry.concerns(order_id)
    stored = telemetry.store()
    row = await transaction.first(
        _PLACE,
        order_id=order_id,
        customer_id=request.customer_id,
        request_id=request.request_id,
        fingerprint=fingerprint,
        lines=Order(lines=request.lines).SerializeToString(),
        card_token=request.card_token,
        patience_seconds=settings.reserve_deadline_seconds,
        trace_id=telemetry.trace_id(),
        span_id=telemetry.span_id(),
        event=OrderPlaced.DESCRIPTOR.full_name,
        traceparent=stored.traceparent,
        tracestate=stored.tracestate,
    )
    if row is None:
        return await _placed_before(transaction, request, fingerprint)
    get_current_span().set_attribute(telemetry.ORDER_ID, order_id)
    placed = OrderPlaced(order_id=order_id, customer_id=request.customer_id, lines=request.lines)
    outbox.publish(transaction, orchestrator.TOPIC, placed, subject=order_id, sequence=1)
    reserve = ReserveStockRequest(
        order_id=order_id, lines=[ReservationLine(sku=line.sku, quantity=line.quantity) for line in request.lines]
    )
    command = COMMANDS[Step.RESERVING_STOCK]
    commands.send(transaction, command.method, reserve, saga_id=order_id, step=command.name, trace=stored)
    transaction.notify(timeline.CHANNEL, order_id)
    return model.order_message(row)


async def _placed_before(transaction: Transaction, request: PlaceOrderRequest, fingerprint: bytes) -> Order:
    # The new id was offered in vain; which one this is about is known once it is found.
    telemetry.concerns("")
    row = await transaction.first(_FIND_REQUEST, customer_id=request.customer_id, request_id=request.request_id)
    if row is None or row.request_fingerprint != fingerprint:
        raise KeyReused("this key belongs to an earlier order with other content", field="request_id")
    telemetry.concerns(row.order_id)
    span = get_current_span()
    span.set_attribute(telemetry.ORDER_ID, row.order_id)
    for link in telemetry.link(TraceContext(row.traceparent, row.tracestate)):
        span.add_link(link.context)
    order = model.order_message(row)
    # The same answer as the first time, whatever has become of the order since.
    order.ClearField("reason")
    order.ClearField("total")
    order.status = Order.PENDING
    order.update_time.CopyFrom(order.create_time)
    return order


def _fingerprint(request: PlaceOrderRequest) -> bytes:
    content = PlaceOrderRequest()
    content.CopyFrom(request)
    content.ClearField("request_id")
    return hashlib.sha256(content.SerializeToString(deterministic=True)).digest()


async def cancel_order(transaction: Transaction, order_id: str, settings: OrderSettings) -> Order:
    """Cancel an order: the saga undoes a pending one, everybody who holds something undoes a confirmed one.

    Raises:
        NotFound: no such order.
        WrongState: it was rejected.
    """
    order = await fulfilment.load(transaction, order_id)
    if order.status == "REJECTED":
        raise WrongState(f"order {order_id} was rejected and cannot be cancelled")
    if order.status == "PENDING":
        with story.asked(transaction, order, "saga cancel", settings.story_seconds):
            await orchestrator.advance(transaction, order, CancelRequested(), settings)
    elif order.status == "CONFIRMED":
        with story.asked(transaction, order, "cancel confirmed order", settings.story_seconds):
            order.status = "CANCELLED"
            order.saga = saga.Saga(order.saga.step, Reason.CANCELLED_BY_CUSTOMER, order.saga.outcome)
            orchestrator.publish(
                transaction, order, OrderCancelled(order_id=order_id, reason=Order.CANCELLED_BY_CUSTOMER)
            )
            await fulfilment.save(transaction, order, settings)
            await fulfilment.await_undo(transaction, order_id)
    row = await transaction.first(_READ, order_id=order_id)
    assert row is not None  # noqa: S101 - it was locked above
    return model.order_message(row)


async def advance_saga(transaction: Transaction, event: FromOrder, envelope: Envelope, settings: OrderSettings) -> None:
    """Let an event of a participant move the saga, and note it on the timeline, awaited or not.

    Raises:
        NotFound: something was taken for an order that nobody placed; that becomes a dead letter, and an alarm. What
            says that nothing is taken, such as the answer to an operator's own ReleaseStock, is counted and noted.
    """
    try:
        order = await fulfilment.load(transaction, event.order_id)
    except NotFound:
        if isinstance(event, saga.TAKES):
            raise
        get_current_span().set_attribute("shop.saga.awaited", False)
        transaction.after_commit(partial(_UNKNOWN.add, 1, {"event": type(event).__name__}))
        return
    if isinstance(event, StockReserved):
        order.total = event.total
    _note_version(transaction, order, envelope)
    with story.heard(transaction, order, type(event).__name__):
        await orchestrator.advance(transaction, order, event, settings, envelope)


def _note_version(transaction: Transaction, order: Fulfilment, envelope: Envelope) -> None:
    """Say on the span whether a version is missing before this one, or a later one came first.

    Kafka keeps the order of a key, but a dead letter leaves a gap, and comes back out of order when it is redriven. The
    saga judges by its step, so an older version is applied like any other.
    """
    highest = order.heard.get(envelope.source, 0)
    if envelope.sequence != highest + 1:
        get_current_span().set_attribute("shop.event.order", "gap" if envelope.sequence > highest + 1 else "late")
        transaction.after_commit(partial(_MISORDERED.add, 1, {"source": envelope.source}))
    order.heard[envelope.source] = max(highest, envelope.sequence)


async def command_refused(
    transaction: Transaction, refused: dispatcher.CommandRefused, settings: OrderSettings
) -> None:
    """Let the saga hear that a command will never be accepted."""
    step = next(step for step, command in COMMANDS.items() if command.name == refused.step)
    order = await fulfilment.load(transaction, refused.saga_id)
    with story.heard(transaction, order, "CommandRefused"):
        await orchestrator.advance(transaction, order, CommandRefused(step, refused.reason), settings)


async def pass_deadline(
    transaction: Transaction, order_id: str, claimed_until: datetime, settings: OrderSettings
) -> None:
    """Judge a deadline again under the lock, and let the saga hear that it has passed.

    Args:
        claimed_until: where the claim has put the deadline; any other means that the saga has moved on, or that the
            claim ended and is somebody else's now.

    Raises:
        Superseded: it is another one.
    """
    order = await fulfilment.load(transaction, order_id)
    if order.deadline_at != claimed_until:
        raise Superseded
    transaction.after_commit(partial(_DEADLINES.add, 1, {"step": order.saga.step}))
    # Only a compensation is left to an operator; a forward step that has waited for longer still turns back.
    exhausted = order.saga.step in saga.COMPENSATING and order.step_seconds >= settings.park_after_seconds
    await orchestrator.advance(transaction, order, DeadlinePassed(exhausted), settings)


async def retry_saga(transaction: Transaction, order_id: str, settings: OrderSettings) -> SagaMessage:
    """Send the command of a parked saga again, unless what it waits for was heard before; then the saga goes on.

    Raises:
        NotFound: no such order.
        WrongState: the saga is not parked.
    """
    order = await fulfilment.load(transaction, order_id)
    if not order.saga.parked:
        raise WrongState(f"the saga of order {order_id} is not parked")
    heard = await timeline.has(transaction, order_id, saga.AWAITED[order.saga.step])
    with story.asked(transaction, order, "saga retry", settings.story_seconds):
        await orchestrator.advance(transaction, order, RetryRequested(heard), settings)
    row = await transaction.first(_READ_SAGA, order_id=order_id)
    assert row is not None  # noqa: S101 - it was locked above
    return model.saga_message(row)
