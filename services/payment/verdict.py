"""What the card network's answer means for a payment: one pure function, exhaustive. No I/O, no clock.

state × wish × question × answer ─▶ the payment's moves, with postings and events, and the worker's next question

No charge is said to be made while its answer does not fit, and nothing is said to be undone while the network may hold
money. Where it holds none, the payment ends; where that is unclear, the wish stays open and the reason is noted.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

Posting = Literal["charge", "refund", "correction"]


class State(StrEnum):
    """Where a payment is; the names of `shop.payment.v1.Payment.State`."""

    CHARGING = "CHARGING"
    CHARGED = "CHARGED"
    DECLINED = "DECLINED"
    REFUNDED = "REFUNDED"
    VOIDED = "VOIDED"


class Outcome(StrEnum):
    """What the network says became of a charge; VOIDED: nothing was taken, and nothing will be."""

    CHARGED = "CHARGED"
    DECLINED = "DECLINED"
    REFUNDED = "REFUNDED"
    VOIDED = "VOIDED"


class Question(StrEnum):
    """What the network is asked."""

    CHARGE = "charge"
    FIND = "find"
    VOID = "void"


class Price(NamedTuple):
    """How much, in minor units of a currency."""

    amount_minor: int
    currency_code: str

    def __str__(self) -> str:
        return f"{self.amount_minor} {self.currency_code}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The network's answer about one charge: what became of it, and how much it was about; a decline has a code."""

    outcome: Outcome
    price: Price
    decline_code: str = ""


class NoAnswer(Exception):
    """The network did not say what became of the charge: it may have been made, or not."""


class Unclear(NoAnswer):
    """The network said something that is no answer about this charge."""


# None: the network has not heard of the charge.
Reply = Answer | NoAnswer | None


@dataclass(frozen=True, slots=True)
class Standing:
    """All of a payment that decides.

    Args:
        price: what it is about; None on a tombstone, which nobody has asked to charge.
        wished: somebody wants the money back, and that is not done yet.
        doubted: an earlier answer did not fit.
    """

    state: State
    price: Price | None
    wished: bool = False
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """One step of a payment: what is booked, and whether the world is told the state that is reached."""

    before: State
    after: State
    postings: tuple[Posting, ...] = ()
    tells: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done.

    Args:
        asks: the question that follows at once.
        again: the attempt settled nothing; another follows later.
        wishes: the service itself wants the money back.
        unclear: why the answer is not taken at its word; somebody should look if that lasts.
    """

    moves: tuple[Move, ...] = ()
    asks: Question | None = None
    again: bool = False
    wishes: bool = False
    unclear: str = ""


_NOTHING = Verdict()


def opening(payment: Standing, attempts: int) -> Question:
    """What an attempt asks first; an earlier one may have reached the network, whoever made it."""
    if payment.wished:
        asked_for = payment.state is State.CHARGING and payment.price is not None
        return Question.FIND if asked_for and not payment.doubted else Question.VOID
    return Question.FIND if attempts > 1 else Question.CHARGE


def judge(payment: Standing, question: Question, reply: Reply) -> Verdict:
    """What a reply means for a payment; every combination is defined."""
    match question, reply:
        case _, NoAnswer() if not is_open(payment):
            return _NOTHING
        case Question.VOID, Unclear():
            return Verdict(again=True, unclear=str(reply))
        case _, Unclear():
            # Voiding tells what became of the charge as well.
            return Verdict(asks=Question.VOID) if payment.wished else Verdict(again=True, unclear=str(reply))
        case _, NoAnswer():
            return Verdict(again=True)
        case Question.VOID, Answer():
            return _after_void(payment, reply)
        case _, Answer():
            return _after_charge(payment, reply)
        case Question.FIND, None if is_open(payment):
            return Verdict(asks=Question.VOID if payment.wished else Question.CHARGE)
        case _:
            return Verdict(again=is_open(payment), unclear="it does not know what it was asked to do")


def is_open(payment: Standing) -> bool:
    """Whether the card worker has something to do."""
    return payment.wished or payment.state is State.CHARGING


def _after_charge(payment: Standing, answer: Answer) -> Verdict:
    """What the network says about a charge that it was asked to make, or asked about."""
    match payment.state, answer.outcome:
        case State.CHARGING, _ if payment.wished and payment.doubted:
            return Verdict(asks=Question.VOID)
        case State.CHARGING, Outcome.VOIDED:
            return Verdict((Move(State.CHARGING, State.VOIDED),))
        case State.CHARGING, _ if answer.price != payment.price:
            why = f"{answer.outcome} {answer.price} instead of {payment.price}"
            return Verdict(asks=Question.VOID) if payment.wished else Verdict(wishes=True, unclear=why)
        case State.CHARGING, Outcome.CHARGED:
            charged = Move(State.CHARGING, State.CHARGED, ("charge",))
            return Verdict((charged,), asks=Question.VOID if payment.wished else None)
        case State.CHARGING, Outcome.DECLINED:
            declined, voided = Move(State.CHARGING, State.DECLINED), Move(State.DECLINED, State.VOIDED)
            # Whoever wants the money back waits for a refund's event, and would not take a decline for one.
            return Verdict((declined, voided) if payment.wished else (declined,))
        case State.CHARGING, Outcome.REFUNDED:
            # Nobody hears of the charge: an order that did would be confirmed.
            return Verdict((Move(State.CHARGING, State.REFUNDED, ("charge", "refund")),))

        # From here on the answer is late.
        case _ if payment.wished:
            return Verdict(asks=Question.VOID)
        case State.CHARGED, Outcome.REFUNDED if answer.price == payment.price:
            return Verdict((Move(State.CHARGED, State.REFUNDED, ("refund",)),))
        case State.CHARGED, (Outcome.VOIDED | Outcome.DECLINED):
            return Verdict((Move(State.CHARGED, State.VOIDED, ("correction",)),))
        case State.CHARGED, _ if answer.price != payment.price:
            return Verdict(unclear=f"{answer.outcome} {answer.price} after CHARGED {payment.price}")
        case ((State.DECLINED | State.VOIDED), Outcome.CHARGED):
            return _taken_after_all(payment, answer)
        case _:
            return _NOTHING


def _after_void(payment: Standing, answer: Answer) -> Verdict:
    """What the network says once it was asked to give back what it took."""
    match payment.state, answer.outcome:
        case State.CHARGING, Outcome.REFUNDED:
            return Verdict((Move(State.CHARGING, State.REFUNDED, ("charge", "refund")),))
        case State.CHARGING, (Outcome.VOIDED | Outcome.DECLINED):
            return Verdict((Move(State.CHARGING, State.VOIDED),))
        case State.CHARGED, Outcome.REFUNDED if answer.price == payment.price:
            return Verdict((Move(State.CHARGED, State.REFUNDED, ("refund",)),))
        case State.CHARGED, (Outcome.VOIDED | Outcome.DECLINED):
            # It has forgotten the charge, or undone it by itself: what was booked did not stay taken.
            return Verdict((Move(State.CHARGED, State.VOIDED, ("correction",)),))
        case ((State.DECLINED | State.VOIDED), Outcome.REFUNDED) if payment.wished:
            return Verdict((Move(payment.state, State.REFUNDED, ("charge", "refund")),))
        case State.DECLINED, (Outcome.VOIDED | Outcome.DECLINED) if payment.wished:
            return Verdict((Move(State.DECLINED, State.VOIDED),))
        case State.VOIDED, (Outcome.VOIDED | Outcome.DECLINED) if payment.wished:
            return Verdict((Move(State.VOIDED, State.VOIDED, tells=False),))
        case ((State.DECLINED | State.VOIDED), Outcome.CHARGED) if not payment.wished:
            return _taken_after_all(payment, answer)
        case _ if is_open(payment):
            return Verdict(again=True, unclear=f"{answer.outcome} {answer.price} after it was told to give back")
        case _:
            return _NOTHING


def _taken_after_all(payment: Standing, answer: Answer) -> Verdict:
    """The world was told that nothing was taken: what was is wanted back."""
    return Verdict(wishes=True, unclear=f"CHARGED {answer.price} after {payment.state}")
