"""What the payment service is told: each command, and the event it hears, as one transaction.

    ChargePayment ─▶ intent ─┐
    RefundPayment ─▶ wish ───┼─▶ the card worker ─▶ settlement ─▶ event
    OrderCancelled ─▶ wish ──┘

Nothing here calls the card network. A payment that this database does not know may be known there all the same, so what
undoes it is a wish too.
"""

from uuid import UUID, uuid5

from shop.order.v1.order_events_pb2 import OrderCancelled
from shop.payment.v1.payment_pb2 import Payment
from shop.payment.v1.payment_service_pb2 import ChargePaymentRequest, GetPaymentRequest, RefundPaymentRequest

from chassis import outbox, telemetry
from chassis.database import Row, Sql, Transaction
from chassis.errors import NotFound, WrongState
from chassis.messages import Envelope
from services.payment import settlement
from services.payment.model import ledger_entry, money, payment_message
from services.payment.settlement import CHANNEL
from services.payment.verdict import Move, State

# The namespace of payments' ids (RFC 9562, version 5); any fixed UUID will do, as long as it stays.
_NAMESPACE = UUID("0b1f6f5e-5a0c-5c0d-8d5b-6a2f0f3b7c41")

_INTEND = Sql(
    "INSERT payments",
    """
    INSERT INTO payments (payment_id, order_id, state, amount_minor, currency_code, card_token, next_attempt_at,
                          traceparent, tracestate)
    VALUES (:payment_id, :order_id, 'CHARGING', :amount_minor, :currency_code, :card_token, clock_timestamp(),
            :traceparent, :tracestate)
    ON CONFLICT DO NOTHING
    RETURNING *
    """,
)
# Due at once, even while a charge is under way: the network decides which of the two came first. A payment that is not
# known gets a tombstone, which is a wish about nothing: it is voided at the network, and keeps a late charge away.
_WISH = Sql(
    "INSERT payments",
    """
    WITH tombstone AS (
        INSERT INTO payments (payment_id, order_id, state, refund_requested_at, next_attempt_at,
                              traceparent, tracestate)
        SELECT CAST(:payment_id AS uuid), :order_id, 'CHARGING', moment, moment, :traceparent, :tracestate
        FROM clock_timestamp() AS moment
        ON CONFLICT DO NOTHING
        RETURNING *
    ), wished AS (
        UPDATE payments SET refund_requested_at = clock_timestamp(), attempts = 0, next_attempt_at = clock_timestamp(),
               traceparent = :traceparent, tracestate = :tracestate
        WHERE order_id = :order_id AND state IN ('CHARGING', 'CHARGED') AND refund_requested_at IS NULL
        RETURNING *
    )
    SELECT * FROM tombstone UNION ALL SELECT * FROM wished
    """,
)
_LOCK = Sql("SELECT payments", "SELECT * FROM payments WHERE order_id = :order_id FOR NO KEY UPDATE")
_READ = Sql(
    "SELECT payments",
    """
    SELECT payments.*, entry.posting, entry.account, entry.amount_minor AS entry_minor,
           entry.currency_code AS entry_currency, entry.created_at AS booked_at
    FROM payments LEFT JOIN ledger_entries AS entry ON entry.payment_id = payments.payment_id
    WHERE payments.order_id = :order_id
    ORDER BY entry.posting, entry.account
    """,
)


def payment_id(order_id: str) -> UUID:
    """The payment's id, which is its idempotency key at the card network too.

    It follows from the order, so a database that has lost a payment still knows under which key the network has it.
    """
    return uuid5(_NAMESPACE, order_id)


async def charge_payment(transaction: Transaction, request: ChargePaymentRequest) -> Payment:
    """Write the intent, once for an order; repeated, tell the outcome again if there is one.

    Raises:
        WrongState: the order's payment is about another amount. Which of the two is right is not for us to say.
    """
    row = await transaction.first(
        _INTEND,
        payment_id=payment_id(request.order_id),
        order_id=request.order_id,
        amount_minor=request.amount.amount_minor,
        currency_code=request.amount.currency_code,
        card_token=request.card_token,
        **telemetry.store()._asdict(),
    )
    if row is not None:
        transaction.notify(CHANNEL)
        return payment_message(row)
    row = await _lock(transaction, request.order_id)
    if row.amount_minor is not None and money(row) != request.amount:
        raise WrongState("the order's payment is about another amount", field="amount")
    await _repeat(transaction, row)
    return payment_message(row)


async def refund_payment(transaction: Transaction, request: RefundPaymentRequest) -> Payment:
    """Write the wish to have the money back. Ends in PaymentRefunded or PaymentVoided, whatever is found.

    A payment that is not known here gets a tombstone, so that a late ChargePayment takes nothing.
    """
    row = await _want_back(transaction, request.order_id)
    if row.state == "DECLINED" and row.next_attempt_at is None:
        row = await settlement.move(transaction, row, Move(State.DECLINED, State.VOIDED)) or row
    elif row.next_attempt_at is None:
        await _repeat(transaction, row)
    return payment_message(row)


async def refund_cancelled_order(transaction: Transaction, event: OrderCancelled, envelope: Envelope) -> None:
    """Give back what was charged, be it known here or not; what is undone or declined already stays as it is."""
    await _want_back(transaction, event.order_id)


async def get_payment(transaction: Transaction, request: GetPaymentRequest) -> Payment:
    """The payment of an order, with its entries in the ledger.

    Raises:
        NotFound: the order has none, as far as we have heard.
    """
    rows = await transaction.all(_READ, order_id=request.order_id)
    if not rows:
        raise NotFound("the order has no payment", field="order_id")
    payment = payment_message(rows[0])
    payment.ledger_entries.extend(ledger_entry(row) for row in rows if row.posting is not None)
    return payment


async def _lock(transaction: Transaction, order_id: str) -> Row:
    """The order's payment, which exists, kept from changing until the commit."""
    return (await transaction.all(_LOCK, order_id=order_id))[0]


async def _want_back(transaction: Transaction, order_id: str) -> Row:
    """The order's payment, kept from changing; if anything may have been taken, the card worker is to give it back."""
    wish = {"order_id": order_id, "payment_id": payment_id(order_id), **telemetry.store()._asdict()}
    row = await transaction.first(_WISH, **wish)
    if row is None:
        row = await _lock(transaction, order_id)
        if row.state in ("CHARGING", "CHARGED") and row.refund_requested_at is None:
            # It was written while the statement ran, which did not see it.
            row = await transaction.first(_WISH, **wish) or row
    transaction.notify(CHANNEL)
    return row


async def _repeat(transaction: Transaction, row: Row) -> None:
    """Tell the outcome again, if there is one, in case it was lost."""
    await outbox.republish(transaction, subject=row.order_id, sequence=row.version)
