"""What an answer of the card network does to a payment: state, ledger and event, and only if it says something new.

    CHARGING ─▶ CHARGED ─▶ REFUNDED          CHARGING ─▶ DECLINED ─▶ VOIDED          CHARGING ─▶ VOIDED

The network's truth about a key only moves forward, and each step here is an UPDATE on the condition that the payment
is where the step begins. So answers may come twice, late, or from two workers at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from google.protobuf.message import Message
from shop.payment.v1.payment_events_pb2 import PaymentCharged, PaymentDeclined, PaymentRefunded, PaymentVoided

from chassis import outbox
from chassis.database import Row, Sql, Transaction
from services.payment import ledger, model

TOPIC = "payment.events"


class Outcome(StrEnum):
    """What the network says became of a charge; VOIDED: nothing was taken, and nothing will be."""

    CHARGED = "CHARGED"
    DECLINED = "DECLINED"
    REFUNDED = "REFUNDED"
    VOIDED = "VOIDED"


@dataclass(frozen=True, slots=True)
class Answer:
    """The network's answer about one payment; a decline has a code."""

    outcome: Outcome
    decline_code: str | None = None


# What each answer means for a payment that has heard nothing yet; one that has heard the first part does the rest.
_STEPS: dict[Outcome, tuple[tuple[str, str], ...]] = {
    Outcome.CHARGED: (("CHARGING", "CHARGED"),),
    Outcome.DECLINED: (("CHARGING", "DECLINED"),),
    Outcome.REFUNDED: (("CHARGING", "CHARGED"), ("CHARGED", "REFUNDED")),
    Outcome.VOIDED: (("CHARGING", "VOIDED"),),
}
_POSTINGS: dict[str, ledger.Posting] = {"CHARGED": "charge", "REFUNDED": "refund"}
_EVENTS: dict[str, Callable[[Row], Message]] = {
    "CHARGED": lambda row: PaymentCharged(**_names(row), amount=model.money(row)),
    "DECLINED": lambda row: PaymentDeclined(**_names(row), decline_code=row.decline_code),
    "REFUNDED": lambda row: PaymentRefunded(**_names(row), amount=model.money(row)),
    "VOIDED": lambda row: PaymentVoided(**_names(row)),
}

# The card is of no use once the network has answered, and a payment whose refund is wished for stays in work.
_MOVE = Sql(
    "UPDATE payments",
    """
    UPDATE payments SET state = CAST(:after AS text), decline_code = coalesce(:decline_code, decline_code),
           card_token = NULL, version = version + 1, updated_at = clock_timestamp(),
           next_attempt_at = CASE WHEN CAST(:after AS text) = 'CHARGED' AND refund_requested_at IS NOT NULL
                                  THEN next_attempt_at END
    WHERE payment_id = :payment_id AND state = :before
    RETURNING *
    """,
)


async def record_charge(transaction: Transaction, payment_id: UUID, answer: Answer) -> str | None:
    """What came of charging, or of asking about a charge; returns the state reached, None if that was known."""
    return await _record(transaction, payment_id, answer)


async def record_refund(transaction: Transaction, payment_id: UUID, answer: Answer) -> str | None:
    """What came of voiding; returns the state reached, None if that was known."""
    return await _record(transaction, payment_id, answer)


async def _record(transaction: Transaction, payment_id: UUID, answer: Answer) -> str | None:
    moved: Row | None = None
    for before, after in _STEPS[answer.outcome]:
        moved = await move(transaction, payment_id, before, after, answer.decline_code) or moved
    if moved is not None and moved.state == "DECLINED" and moved.refund_requested_at is not None:
        # Whoever wants the money back waits for a refund's event, and would not take a decline for one.
        moved = await move(transaction, payment_id, "DECLINED", "VOIDED")
    return moved.state if moved is not None else None


async def move(
    transaction: Transaction, payment_id: UUID, before: str, after: str, decline_code: str | None = None
) -> Row | None:
    """Take the payment one step, with its ledger posting and its event; None, and nothing, if it is not at `before`."""
    row = await transaction.first(_MOVE, payment_id=payment_id, before=before, after=after, decline_code=decline_code)
    if row is not None:
        if posting := _POSTINGS.get(after):
            await ledger.post(transaction, posting, row)
        tell(transaction, row)
    return row


def tell(transaction: Transaction, row: Row) -> None:
    """Publish what the payment's state says, under the version the row has."""
    outbox.publish(transaction, TOPIC, _EVENTS[row.state](row), subject=row.order_id, sequence=row.version)


def _names(row: Row) -> dict[str, str]:
    return {"order_id": row.order_id, "payment_id": str(row.payment_id)}
