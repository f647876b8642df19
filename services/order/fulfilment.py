"""An order and its saga, loaded under one lock and saved by one statement."""

from dataclasses import dataclass, field
from datetime import datetime

from shop.inventory.v1.inventory_events_pb2 import StockReleased, StockReturned
from shop.money.v1.money_pb2 import Money
from shop.payment.v1.payment_events_pb2 import PaymentRefunded, PaymentVoided

from chassis.database import Row, Sql, Transaction
from chassis.errors import NotFound
from chassis.telemetry import TraceContext
from services.order import timeline
from services.order.saga import Reason, Saga, Step
from services.order.settings import OrderSettings
from services.order.timeline import Entry

_LOAD = Sql(
    "SELECT sagas",
    """
    SELECT s.*, o.lines, o.status, o.total_minor, o.currency_code, o.version,
           extract(epoch FROM clock_timestamp() - s.step_at) AS step_seconds,
           extract(epoch FROM clock_timestamp() - o.created_at) AS age_seconds
    FROM sagas s JOIN orders o USING (order_id)
    WHERE order_id = :order_id
    FOR UPDATE
    """,
)
_SAVE = Sql(
    "UPDATE sagas",
    """
    WITH saga AS (
        UPDATE sagas SET step = :step, attempt = :attempt, reason = :reason, outcome = :outcome,
            step_at = CASE WHEN step = :step THEN step_at ELSE clock_timestamp() END,
            deadline_at = CASE WHEN :keeps_deadline THEN deadline_at
                          ELSE clock_timestamp() + make_interval(secs => :patience_seconds) END,
            parked_at = CASE WHEN :parked THEN coalesce(parked_at, clock_timestamp()) END,
            card_token = CASE WHEN :step = 'RESERVING_STOCK' THEN card_token END,
            inventory_sequence = :inventory_sequence, payment_sequence = :payment_sequence,
            story_traceparent = :story_traceparent, story_tracestate = :story_tracestate,
            timeline_position = timeline_position + cardinality(CAST(:events AS text[]))
        WHERE order_id = :order_id
    ), changed AS (
        UPDATE orders SET status = :status, reason = :reason, total_minor = :total_minor,
            currency_code = :currency_code, version = :version,
            updated_at = CASE WHEN status = :status THEN updated_at ELSE clock_timestamp() END
        WHERE order_id = :order_id
    )
    INSERT INTO order_timeline (order_id, position, event, detail, service, happened_at, status, trace_id, span_id)
    SELECT :order_id, :timeline_position + entry.number, entry.event, entry.detail, entry.service,
           coalesce(entry.happened_at, clock_timestamp()), entry.status, entry.trace_id, entry.span_id
    FROM unnest(CAST(:events AS text[]), CAST(:details AS text[]), CAST(:services AS text[]),
                CAST(:moments AS timestamptz[]), CAST(:statuses AS text[]), CAST(:trace_ids AS text[]),
                CAST(:span_ids AS text[]))
         WITH ORDINALITY AS entry (event, detail, service, happened_at, status, trace_id, span_id, number)
    """,
)

# What was heard already, an operator's refund by hand for one, is not awaited.
_AWAIT_UNDO = Sql(
    "UPDATE sagas",
    """
    WITH heard AS (
        SELECT coalesce(bool_or(event = ANY(CAST(:refunds AS text[]))), false) AS refund,
               coalesce(bool_or(event = ANY(CAST(:returns AS text[]))), false) AS goods
        FROM order_timeline WHERE order_id = :order_id
    )
    UPDATE sagas SET undo_awaited_at = clock_timestamp(),
        refund_awaited_after = CASE WHEN NOT heard.refund THEN payment_sequence END,
        goods_awaited_after = CASE WHEN NOT heard.goods THEN inventory_sequence END
    FROM heard WHERE order_id = :order_id
    """,
)
REFUNDS = tuple(event.DESCRIPTOR.full_name for event in (PaymentRefunded, PaymentVoided))
RETURNS = tuple(event.DESCRIPTOR.full_name for event in (StockReleased, StockReturned))


@dataclass(slots=True)
class Fulfilment:
    """What a saga may change: itself, its order's status, price and version, and what is new on the timeline."""

    order_id: str
    saga: Saga
    attempt: int
    status: str
    total: Money | None
    version: int
    lines: bytes
    card_token: str
    timeline_position: int
    # The order's span; the request that began what goes on much later, if one did; and where this turn's spans hang.
    trace: TraceContext
    story: TraceContext
    turn: TraceContext
    deadline_at: datetime | None
    step_seconds: float
    age_seconds: float
    # The highest version heard of each participant's aggregate of this order.
    heard: dict[str, int]
    entries: list[Entry] = field(default_factory=list)
    keeps_deadline: bool = True


async def load(transaction: Transaction, order_id: str) -> Fulfilment:
    """Lock an order and its saga.

    Raises:
        NotFound: no such order.
    """
    row = await transaction.first(_LOAD, order_id=order_id)
    if row is None:
        raise NotFound(f"order {order_id} does not exist")
    return _from_row(row)


def _from_row(row: Row) -> Fulfilment:
    return Fulfilment(
        order_id=row.order_id,
        saga=Saga(
            Step(row.step),
            Reason(row.reason) if row.reason else None,
            Step(row.outcome) if row.outcome else None,
            parked=row.parked_at is not None,
        ),
        attempt=row.attempt,
        status=row.status,
        total=None if row.total_minor is None else Money(amount_minor=row.total_minor, currency_code=row.currency_code),
        version=row.version,
        lines=row.lines,
        card_token=row.card_token or "",
        timeline_position=row.timeline_position,
        trace=TraceContext(row.traceparent, row.tracestate),
        story=TraceContext(row.story_traceparent, row.story_tracestate),
        turn=TraceContext(row.traceparent, row.tracestate),
        deadline_at=row.deadline_at,
        step_seconds=float(row.step_seconds),
        age_seconds=float(row.age_seconds),
        heard={"inventory": row.inventory_sequence, "payment": row.payment_sequence},
    )


async def save(transaction: Transaction, fulfilment: Fulfilment, settings: OrderSettings) -> None:
    """Write the order, its saga and the new timeline entries; the deadline counts from now."""
    saga, total, entries = fulfilment.saga, fulfilment.total, fulfilment.entries
    await transaction.run(
        _SAVE,
        order_id=fulfilment.order_id,
        step=saga.step,
        attempt=fulfilment.attempt,
        reason=saga.reason,
        outcome=saga.outcome,
        parked=saga.parked,
        keeps_deadline=fulfilment.keeps_deadline,
        patience_seconds=patience_seconds(saga, settings),
        status=fulfilment.status,
        total_minor=total.amount_minor if total else None,
        currency_code=total.currency_code if total else None,
        version=fulfilment.version,
        timeline_position=fulfilment.timeline_position,
        story_traceparent=fulfilment.story.traceparent,
        story_tracestate=fulfilment.story.tracestate,
        inventory_sequence=fulfilment.heard["inventory"],
        payment_sequence=fulfilment.heard["payment"],
        events=[entry.event for entry in entries],
        details=[entry.detail for entry in entries],
        services=[entry.service for entry in entries],
        moments=[entry.happened_at for entry in entries],
        statuses=[entry.status for entry in entries],
        trace_ids=[entry.trace_id for entry in entries],
        span_ids=[entry.span_id for entry in entries],
    )
    transaction.notify(timeline.CHANNEL, fulfilment.order_id)


async def await_undo(transaction: Transaction, order_id: str) -> None:
    """From now on the money and the goods of a confirmed order are awaited back; the events that say so end that."""
    await transaction.run(_AWAIT_UNDO, order_id=order_id, refunds=list(REFUNDS), returns=list(RETURNS))


def patience_seconds(saga: Saga, settings: OrderSettings) -> float | None:
    """How long a step may take; None where nothing is awaited, or nobody but an operator can help."""
    if saga.parked:
        return None
    return {
        Step.RESERVING_STOCK: settings.reserve_deadline_seconds,
        Step.CHARGING_PAYMENT: settings.charge_deadline_seconds,
        Step.REFUNDING_PAYMENT: settings.compensation_retry_seconds,
        Step.RELEASING_STOCK: settings.compensation_retry_seconds,
    }.get(saga.step)
