"""What the order service does: one function for each command, and one for each thing that moves the saga.

Each runs in a transaction that its caller commits, and locks the order and its saga before it decides.
"""

import hashlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

from google.protobuf.message import Message
from opentelemetry.trace import get_current_span
from shop.inventory.v1.inventory_events_pb2 import StockReserved
from shop.inventory.v1.inventory_pb2 import ReservationLine
from shop.inventory.v1.inventory_service_pb2 import ReleaseStockRequest, ReserveStockRequest
from shop.order.v1.order_events_pb2 import OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected
from shop.order.v1.order_pb2 import Order
from shop.order.v1.order_pb2 import Saga as SagaMessage
from shop.order.v1.order_service_pb2 import PlaceOrderRequest
from shop.payment.v1.payment_service_pb2 import ChargePaymentRequest, RefundPaymentRequest
from uuid_utils.compat import uuid7

from chassis import commands, dispatcher, outbox, telemetry
from chassis.database import Sql, Transaction
from chassis.errors import KeyReused, WrongState
from chassis.messages import Envelope
from services.order import fulfilment, model, saga, timeline
from services.order.fulfilment import Fulfilment
from services.order.saga import CancelRequested, CommandRefused, DeadlinePassed, Reason, RetryRequested, Step
from services.order.settings import OrderSettings
from services.order.timeline import Entry

TOPIC = "order.events"

# Each step's RPC, and the request that it takes.
COMMANDS: dict[Step, tuple[str, Callable[[Fulfilment], Message]]] = {
    Step.RESERVING_STOCK: (
        "/shop.inventory.v1.InventoryService/ReserveStock",
        lambda order: ReserveStockRequest(
            order_id=order.order_id,
            lines=[ReservationLine(sku=line.sku, quantity=line.quantity) for line in model.order_lines(order.lines)],
        ),
    ),
    Step.CHARGING_PAYMENT: (
        "/shop.payment.v1.PaymentService/ChargePayment",
        lambda order: ChargePaymentRequest(order_id=order.order_id, amount=order.total, card_token=order.card_token),
    ),
    Step.REFUNDING_PAYMENT: (
        "/shop.payment.v1.PaymentService/RefundPayment",
        lambda order: RefundPaymentRequest(order_id=order.order_id),
    ),
    Step.RELEASING_STOCK: (
        "/shop.inventory.v1.InventoryService/ReleaseStock",
        lambda order: ReleaseStockRequest(order_id=order.order_id),
    ),
}
# The command that a step's row in the command outbox stands for, as its span names it.
NAMES = {
    Step.RESERVING_STOCK: "reserve_stock",
    Step.CHARGING_PAYMENT: "charge_payment",
    Step.REFUNDING_PAYMENT: "refund_payment",
    Step.RELEASING_STOCK: "release_stock",
}

_STEPS = telemetry.meter.create_counter("shop.saga.steps", description="Steps that sagas entered, by step.")
_DEADLINES = telemetry.meter.create_counter("shop.saga.deadlines", description="Deadlines that passed, by step.")
_GIVEN_UP = telemetry.meter.create_counter(
    "shop.saga.given_up", description="Orders that will not be confirmed, by reason, from the moment that is decided."
)
_UNAWAITED = telemetry.meter.create_counter(
    "shop.saga.unawaited", description="Events that a saga did not wait for: late, repeated or out of order."
)
_MISORDERED = telemetry.meter.create_counter(
    "shop.saga.misordered", description="Events that came after a gap in their versions, or after a later version."
)
_DURATION = telemetry.meter.create_histogram(
    "shop.saga.duration", unit="s", description="From the placing of an order to the end of its saga, by outcome."
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
    "SELECT orders", "SELECT * FROM orders WHERE customer_id = :customer_id AND request_id = :request_id"
)
_READ = Sql("SELECT orders", "SELECT * FROM orders WHERE order_id = :order_id")
_READ_SAGA = Sql("SELECT sagas", "SELECT * FROM sagas WHERE order_id = :order_id")


def count_from_zero() -> None:
    """Report every reason from the start: a counter that begins with its first order hides it from a rate."""
    for reason in Reason:
        _GIVEN_UP.add(0, {"reason": reason})


class FromOrder(Protocol):
    """Every event of the participants names its order."""

    order_id: str


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
    outbox.publish(transaction, TOPIC, placed, subject=order_id, sequence=1)
    reserve = ReserveStockRequest(
        order_id=order_id, lines=[ReservationLine(sku=line.sku, quantity=line.quantity) for line in request.lines]
    )
    commands.send(
        transaction, COMMANDS[Step.RESERVING_STOCK][0], reserve, saga_id=order_id, step=NAMES[Step.RESERVING_STOCK]
    )
    transaction.notify(timeline.CHANNEL, order_id)
    return model.order_message(row)


async def _placed_before(transaction: Transaction, request: PlaceOrderRequest, fingerprint: bytes) -> Order:
    row = await transaction.first(_FIND_REQUEST, customer_id=request.customer_id, request_id=request.request_id)
    if row is None or row.request_fingerprint != fingerprint:
        raise KeyReused("this key belongs to an earlier order with other content", field="request_id")
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
        with _resumed("saga cancel", order):
            await _react(transaction, order, CancelRequested(), settings)
    elif order.status == "CONFIRMED":
        with _resumed("cancel confirmed order", order):
            order.status = "CANCELLED"
            order.saga = saga.Saga(order.saga.step, Reason.CANCELLED_BY_CUSTOMER, order.saga.outcome)
            _publish(transaction, order, OrderCancelled(order_id=order_id, reason=Order.CANCELLED_BY_CUSTOMER))
            await fulfilment.save(transaction, order, settings)
    row = await transaction.first(_READ, order_id=order_id)
    assert row is not None  # noqa: S101 - it was locked above
    return model.order_message(row)


async def advance_saga(transaction: Transaction, event: FromOrder, envelope: Envelope, settings: OrderSettings) -> None:
    """Let an event of a participant move the saga, and note it on the timeline, awaited or not."""
    order = await fulfilment.load(transaction, event.order_id)
    if isinstance(event, StockReserved):
        order.total = event.total
    _note_version(order, envelope)
    await _react(transaction, order, event, settings, envelope)


def _note_version(order: Fulfilment, envelope: Envelope) -> None:
    """Say on the span whether a version is missing before this one, or a later one came first.

    Kafka keeps the order of a key, but a dead letter leaves a gap, and comes back out of order when it is redriven. The
    saga judges by its step, so an older version is applied like any other.
    """
    highest = order.heard.get(envelope.source, 0)
    if envelope.sequence != highest + 1:
        get_current_span().set_attribute("shop.event.order", "gap" if envelope.sequence > highest + 1 else "late")
        _MISORDERED.add(1, {"source": envelope.source})
    order.heard[envelope.source] = max(highest, envelope.sequence)


async def command_refused(
    transaction: Transaction, refused: dispatcher.CommandRefused, settings: OrderSettings
) -> None:
    """Let the saga hear that a command will never be accepted."""
    step = next(step for step, name in NAMES.items() if name == refused.step)
    order = await fulfilment.load(transaction, refused.saga_id)
    await _react(transaction, order, CommandRefused(step), settings)


async def pass_deadline(transaction: Transaction, order_id: str, settings: OrderSettings) -> None:
    """Judge a deadline again under the lock, by the database's clock, and let the saga hear that it has passed."""
    order = await fulfilment.load(transaction, order_id)
    if not order.deadline_passed:
        return
    _DEADLINES.add(1, {"step": order.saga.step})
    with _resumed("saga deadline", order):
        exhausted = order.step_seconds >= settings.park_after_seconds
        await _react(transaction, order, DeadlinePassed(exhausted), settings)


async def retry_saga(transaction: Transaction, order_id: str, settings: OrderSettings) -> SagaMessage:
    """Send the command of a parked saga again.

    Raises:
        NotFound: no such order.
        WrongState: the saga is not parked.
    """
    order = await fulfilment.load(transaction, order_id)
    if not order.saga.parked:
        raise WrongState(f"the saga of order {order_id} is not parked")
    with _resumed("saga retry", order):
        await _react(transaction, order, RetryRequested(), settings)
    row = await transaction.first(_READ_SAGA, order_id=order_id)
    assert row is not None  # noqa: S101 - it was locked above
    return model.saga_message(row)


async def _react(
    transaction: Transaction,
    order: Fulfilment,
    event: saga.Event | FromOrder,
    settings: OrderSettings,
    envelope: Envelope | None = None,
) -> None:
    """Carry out what the saga decides: the status, the next command, what the order tells the world."""
    before, span = order.saga, get_current_span()
    reaction = saga.react(before, event)  # pyright: ignore[reportArgumentType] - a message that names its order
    after = order.saga = reaction.saga
    span.set_attribute("shop.saga.step", after.step)
    if not reaction.awaited:
        span.set_attribute("shop.saga.awaited", False)
        _UNAWAITED.add(1, {"step": before.step, "event": type(event).__name__})
    entered = after.step is not before.step
    if entered:
        _STEPS.add(1, {"step": after.step})
    if entered and before.step in saga.FORWARD and after.step in saga.COMPENSATING:
        await commands.withdraw(transaction, order.order_id)
    if before.reason is None and after.reason is not None:
        _GIVEN_UP.add(1, {"reason": after.reason})
    if reaction.send is not None:
        _send(transaction, order, reaction.send)
    if after.step is reaction.send or after.step in saga.TERMINAL or after.parked:
        order.keeps_deadline = False
        order.attempt = 1 if entered else order.attempt + (reaction.send is not None)
    if envelope is not None:
        status = after.step if entered and after.step in saga.TERMINAL else order.status
        order.entries.append(Entry.here(envelope.type, envelope.source, envelope.time, status))
    if entered and after.step in saga.TERMINAL:
        _end(transaction, order)
    await fulfilment.save(transaction, order, settings)


def _send(transaction: Transaction, order: Fulfilment, step: Step) -> None:
    method, request = COMMANDS[step]
    commands.send(
        transaction,
        method,
        request(order),
        saga_id=order.order_id,
        step=NAMES[step],
        direction="forward" if step in saga.FORWARD else "compensate",
    )


def _end(transaction: Transaction, order: Fulfilment) -> None:
    """The saga has ended: the order takes its status, and the world is told."""
    step, reason = order.saga.step, order.saga.reason
    order.status = step
    _DURATION.record(order.age_seconds, {"outcome": step})
    match step:
        case Step.CONFIRMED:
            _publish(transaction, order, OrderConfirmed(order_id=order.order_id, total=order.total))
        case Step.REJECTED:
            _publish(transaction, order, OrderRejected(order_id=order.order_id, reason=reason))
        case _:
            _publish(transaction, order, OrderCancelled(order_id=order.order_id, reason=reason))


def _publish(transaction: Transaction, order: Fulfilment, event: Message) -> None:
    order.version += 1
    order.entries.append(Entry.here(event.DESCRIPTOR.full_name, "order", None, order.status))
    outbox.publish(transaction, TOPIC, event, subject=order.order_id, sequence=order.version)


@contextmanager
def _resumed(name: str, order: Fulfilment) -> Generator[None]:
    """What a timer, a customer or an operator begins belongs to the order's trace, and links to its cause."""
    cause = telemetry.link(telemetry.store())
    with (
        telemetry.about_order(order.order_id),
        telemetry.span(name, parent=telemetry.restore(order.trace), links=cause),
    ):
        yield
