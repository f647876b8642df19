"""What an answer of the card network does to a payment: state, ledger and event, and only if it says something new.

    CHARGING ─▶ CHARGED ─▶ REFUNDED          CHARGING ─▶ DECLINED ─▶ VOIDED          CHARGING ─▶ VOIDED | REFUNDED

`verdict` decides; here that is carried out. Each step is an UPDATE on the condition that the payment is as it was
judged, else it is judged again under its lock. So answers may come twice, late, or from two workers at once.
"""

from collections.abc import Callable

from google.protobuf.message import Message
from shop.money.v1.money_pb2 import Money
from shop.payment.v1.payment_events_pb2 import PaymentCharged, PaymentDeclined, PaymentRefunded, PaymentVoided

from chassis import outbox
from chassis.database import Row, Sql, Transaction
from services.payment import ledger
from services.payment.verdict import Answer, Move, Price, Question, Standing, State, Verdict, judge

TOPIC = "payment.events"
# Notified when there may be work for the card worker.
CHANNEL = "payments"

_EVENTS: dict[State, Callable[[Row, Price], Message]] = {
    State.CHARGED: lambda row, price: PaymentCharged(**_names(row), amount=_money(price)),
    State.DECLINED: lambda row, _price: PaymentDeclined(**_names(row), decline_code=row.decline_code),
    State.REFUNDED: lambda row, price: PaymentRefunded(**_names(row), amount=_money(price)),
    State.VOIDED: lambda row, _price: PaymentVoided(**_names(row)),
}

# The card is of no use once the network has answered, and a payment whose refund is wished for stays in work.
_MOVE = Sql(
    "UPDATE payments",
    """
    UPDATE payments SET state = CAST(:after AS text), decline_code = coalesce(:decline_code, decline_code),
           card_token = NULL, unclear = NULL, version = version + CAST(:told AS integer),
           updated_at = clock_timestamp(),
           next_attempt_at = CASE WHEN CAST(:after AS text) = 'CHARGED' AND refund_requested_at IS NOT NULL
                                  THEN next_attempt_at END
    WHERE payment_id = :payment_id AND state = :before AND (refund_requested_at IS NOT NULL) = :wished
    RETURNING *
    """,
)
# Due at once, and a new piece of work.
_WISH = Sql(
    "UPDATE payments",
    """
    UPDATE payments SET refund_requested_at = clock_timestamp(), attempts = 0, next_attempt_at = clock_timestamp(),
           unclear = :unclear
    WHERE payment_id = :payment_id AND state = :state AND (refund_requested_at IS NOT NULL) = :wished
    RETURNING *
    """,
)
_LOCK = Sql("SELECT payments", "SELECT * FROM payments WHERE payment_id = :payment_id FOR NO KEY UPDATE")


def standing(row: Row) -> Standing:
    """What of a payment's row decides."""
    return Standing(
        State(row.state),
        None if row.amount_minor is None else Price(row.amount_minor, row.currency_code),
        wished=row.refund_requested_at is not None and row.next_attempt_at is not None,
        doubted=row.unclear is not None,
    )


async def record(transaction: Transaction, row: Row, question: Question, answer: Answer) -> tuple[Verdict, Row]:
    """Do what an answer asks for; returns what that was, and the payment as it is now.

    Args:
        row: the payment as the worker claimed it; it may have moved on.
    """
    verdict = judge(standing(row), question, answer)
    after = await _carry_out(transaction, row, verdict, answer)
    if after is None:
        row = (await transaction.all(_LOCK, payment_id=row.payment_id))[0]
        verdict = judge(standing(row), question, answer)
        after = await _carry_out(transaction, row, verdict, answer)
    assert after is not None  # noqa: S101 - it is locked, so it is where it was judged to be
    return verdict, after


async def _carry_out(transaction: Transaction, row: Row, verdict: Verdict, answer: Answer) -> Row | None:
    """The payment's row afterwards; None, and nothing was done, if it is not as it was judged."""
    after: Row | None = row
    for step in verdict.moves:
        after = await move(transaction, row, step, answer)
        if after is None:
            return None
    if verdict.wishes:
        wished = row.refund_requested_at is not None
        after = await transaction.first(
            _WISH, payment_id=row.payment_id, state=row.state, wished=wished, unclear=verdict.unclear
        )
        transaction.notify(CHANNEL)
    return after


async def move(transaction: Transaction, payment: Row, step: Move, answer: Answer | None = None) -> Row | None:
    """Take the payment one step, with its postings and its event; None, and nothing, if it is not where that begins."""
    row = await transaction.first(
        _MOVE,
        payment_id=payment.payment_id,
        before=step.before,
        after=step.after,
        wished=payment.refund_requested_at is not None,
        told=int(step.tells),
        decline_code=(answer.decline_code or None) if answer else None,
    )
    if row is not None:
        # What was booked for a charge is taken back whole, whatever the network says it was about.
        said = answer.price if answer else Price(0, "")
        booked = Price(row.amount_minor, row.currency_code) if "correction" in step.postings else said
        for posting in step.postings:
            await ledger.post(transaction, posting, row.payment_id, booked)
        if step.tells:
            tell(transaction, row, said)
    return row


def tell(transaction: Transaction, row: Row, price: Price) -> None:
    """Publish what the payment's state says, under the version the row has."""
    event = _EVENTS[State(row.state)](row, price)
    outbox.publish(transaction, TOPIC, event, subject=row.order_id, sequence=row.version)


def _names(row: Row) -> dict[str, str]:
    return {"order_id": row.order_id, "payment_id": str(row.payment_id)}


def _money(price: Price) -> Money:
    return Money(amount_minor=price.amount_minor, currency_code=price.currency_code)
