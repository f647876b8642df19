"""The saga's orchestrator: carries out what `saga.react` decides, in the transaction of what it reacts to.

event, deadline, cancel, refusal ─▶ react ─▶ the next command, the order's status, what the world is told
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from google.protobuf.message import Message
from opentelemetry.trace import get_current_span
from shop.inventory.v1.inventory_pb2 import ReservationLine
from shop.inventory.v1.inventory_service_pb2 import ReleaseStockRequest, ReserveStockRequest
from shop.order.v1.order_events_pb2 import OrderCancelled, OrderConfirmed, OrderRejected
from shop.payment.v1.payment_service_pb2 import ChargePaymentRequest, RefundPaymentRequest

from chassis import commands, logs, outbox, telemetry
from chassis.database import Transaction
from chassis.messages import Envelope
from services.order import fulfilment, model, saga, story
from services.order.fulfilment import Fulfilment
from services.order.saga import Reason, Saga, Step
from services.order.settings import OrderSettings
from services.order.timeline import Entry

log = logs.get(__name__)

TOPIC = "order.events"


@dataclass(frozen=True, slots=True)
class Command:
    """What a step asks of a participant.

    Args:
        name: as the row in the command outbox and its span name it.
        method: the RPC.
        request: what it takes.
    """

    name: str
    method: str
    request: Callable[[Fulfilment], Message]


COMMANDS = {
    Step.RESERVING_STOCK: Command(
        "reserve_stock",
        "/shop.inventory.v1.InventoryService/ReserveStock",
        lambda order: ReserveStockRequest(
            order_id=order.order_id,
            lines=[ReservationLine(sku=line.sku, quantity=line.quantity) for line in model.order_lines(order.lines)],
        ),
    ),
    Step.CHARGING_PAYMENT: Command(
        "charge_payment",
        "/shop.payment.v1.PaymentService/ChargePayment",
        lambda order: ChargePaymentRequest(order_id=order.order_id, amount=order.total, card_token=order.card_token),
    ),
    Step.REFUNDING_PAYMENT: Command(
        "refund_payment",
        "/shop.payment.v1.PaymentService/RefundPayment",
        lambda order: RefundPaymentRequest(order_id=order.order_id),
    ),
    Step.RELEASING_STOCK: Command(
        "release_stock",
        "/shop.inventory.v1.InventoryService/ReleaseStock",
        lambda order: ReleaseStockRequest(order_id=order.order_id),
    ),
}

_STEPS = telemetry.meter.create_counter("shop.saga.steps", description="Steps that sagas entered, by step.")
_GIVEN_UP = telemetry.meter.create_counter(
    "shop.saga.given_up", description="Orders that will not be confirmed, by reason, from the moment that is decided."
)
_UNAWAITED = telemetry.meter.create_counter(
    "shop.saga.unawaited", description="Events that a saga did not wait for: late, repeated or out of order."
)
_DURATION = telemetry.meter.create_histogram(
    "shop.saga.duration", unit="s", description="From the placing of an order to the end of its saga, by outcome."
)


def count_from_zero() -> None:
    """Report every reason from the start: a counter that begins with its first order hides it from a rate."""
    for reason in Reason:
        _GIVEN_UP.add(0, {"reason": reason})


class FromOrder(Protocol):
    """Every event of the participants names its order."""

    order_id: str


async def advance(
    transaction: Transaction,
    order: Fulfilment,
    event: saga.Event | FromOrder,
    settings: OrderSettings,
    envelope: Envelope | None = None,
) -> None:
    """Carry out what the saga decides about `event`: the status, the next command, what the order tells the world.

    Args:
        envelope: of a participant's event, which the timeline notes, awaited or not.
    """
    before = order.saga
    reaction = saga.react(before, event)  # pyright: ignore[reportArgumentType] - a message that names its order
    after = order.saga = reaction.saga
    entered = after.step is not before.step
    ends = entered and after.step in saga.TERMINAL
    _count(transaction, before, reaction, event)
    if envelope is not None:
        status = after.step if ends else order.status
        order.entries.append(Entry.here(envelope.type, envelope.source, envelope.time, status))
    _tell(transaction, order, before, event, settings)
    if entered and before.step in saga.FORWARD and after.step in saga.COMPENSATING:
        await _withdraw(transaction, order)
    if after.step is reaction.send or after.step in saga.TERMINAL or after.parked:
        order.keeps_deadline = False
        order.attempt = 1 if entered else order.attempt + (reaction.send is not None)
    if reaction.send is not None:
        _send(transaction, order, reaction.send)
    if ends:
        _end(transaction, order)
    await fulfilment.save(transaction, order, settings)


def _count(transaction: Transaction, before: Saga, reaction: saga.Reaction, event: object) -> None:
    """What the metrics say about a turn, once it is committed."""
    after = reaction.saga
    if not reaction.awaited:
        get_current_span().set_attribute("shop.saga.awaited", False)
        transaction.after_commit(partial(_UNAWAITED.add, 1, {"step": before.step, "event": type(event).__name__}))
    if after.step is not before.step:
        transaction.after_commit(partial(_STEPS.add, 1, {"step": after.step}))
    if before.reason is None and after.reason is not None:
        transaction.after_commit(partial(_GIVEN_UP.add, 1, {"reason": after.reason}))


def _tell(
    transaction: Transaction, order: Fulfilment, before: Saga, event: saga.Event | FromOrder, settings: OrderSettings
) -> None:
    """Say what the turn did, and why, on its span and on the timeline and, once it is committed, in the log."""
    after, span, said = order.saga, get_current_span(), list(story.facts(before, event, order.saga, settings))
    moved = {"step_before": str(before.step), "step": str(after.step)}
    if after.reason is not None:
        moved["reason"] = str(after.reason)
    span.set_attributes({f"shop.saga.{name}": value for name, value in moved.items()})
    if said:
        facts = [f"{fact.name}: {fact.detail}" for fact in said]
        span.set_attribute("shop.saga.facts", facts)
        moved["facts"] = "; ".join(facts)
    for fact in said:
        order.entries.append(Entry.here(story.FACT + fact.name, "order", None, order.status, fact.detail))
    ends = after.step in saga.TERMINAL and after.step is not before.step
    told = partial(log.info, "the saga has ended" if ends else "the saga took a turn", order_id=order.order_id)
    heard = {"heard": type(event).__name__, "trace_id": telemetry.trace_id(), "span_id": telemetry.span_id()}
    transaction.after_commit(partial(told, **heard, **moved))


async def _withdraw(transaction: Transaction, order: Fulfilment) -> None:
    """Hold back the forward commands that were not delivered yet."""
    for name in await commands.withdraw(transaction, order.order_id):
        detail = f"{name}: it was not delivered yet"
        order.entries.append(Entry.here(story.FACT + "HeldBack", "order", None, order.status, detail))


def _send(transaction: Transaction, order: Fulfilment, step: Step) -> None:
    command = COMMANDS[step]
    commands.send(
        transaction,
        command.method,
        command.request(order),
        saga_id=order.order_id,
        step=command.name,
        trace=order.turn,
        direction="forward" if step in saga.FORWARD else "compensate",
        # What undoes a late event is no attempt of the step that the saga is at.
        attempt=order.attempt if step is order.saga.step else 1,
    )


def _end(transaction: Transaction, order: Fulfilment) -> None:
    """The saga has ended: the order takes its status, and the world is told."""
    step, reason = order.saga.step, order.saga.reason
    order.status = step
    transaction.after_commit(partial(_DURATION.record, order.age_seconds, {"outcome": step}))
    match step:
        case Step.CONFIRMED:
            publish(transaction, order, OrderConfirmed(order_id=order.order_id, total=order.total))
        case Step.REJECTED:
            publish(transaction, order, OrderRejected(order_id=order.order_id, reason=reason))
        case _:
            publish(transaction, order, OrderCancelled(order_id=order.order_id, reason=reason))


def publish(transaction: Transaction, order: Fulfilment, event: Message) -> None:
    """Tell the world, and the timeline, what became of the order."""
    order.version += 1
    order.entries.append(Entry.here(event.DESCRIPTOR.full_name, "order", None, order.status))
    outbox.publish(transaction, TOPIC, event, subject=order.order_id, sequence=order.version)
