"""The fulfilment saga: what an order does next, decided by its step and by what happened. No I/O, no clock.

RESERVING_STOCK ──▶ CHARGING_PAYMENT ──▶ CONFIRMED
      │                 │      │
      │   REFUNDING_PAYMENT ◀──┤ (unsure)
      ▼                 ▼      ▼ (declined, undone)
RELEASING_STOCK ◀───────┴──────┘ ──▶ REJECTED | CANCELLED
"""

from dataclasses import dataclass
from enum import StrEnum

from google.protobuf.message import Message
from shop.inventory.v1.inventory_events_pb2 import ReservationRefused, StockReleased, StockReserved
from shop.payment.v1.payment_events_pb2 import PaymentCharged, PaymentDeclined, PaymentRefunded, PaymentVoided


class Step(StrEnum):
    """What the saga waits for, or how it ended."""

    RESERVING_STOCK = "RESERVING_STOCK"
    CHARGING_PAYMENT = "CHARGING_PAYMENT"
    REFUNDING_PAYMENT = "REFUNDING_PAYMENT"
    RELEASING_STOCK = "RELEASING_STOCK"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"


class Reason(StrEnum):
    """Why a saga turns back; the names of `shop.order.v1.Order.Reason`."""

    OUT_OF_STOCK = "OUT_OF_STOCK"
    UNKNOWN_SKU = "UNKNOWN_SKU"
    PAYMENT_DECLINED = "PAYMENT_DECLINED"
    RESERVATION_TIMED_OUT = "RESERVATION_TIMED_OUT"
    PAYMENT_TIMED_OUT = "PAYMENT_TIMED_OUT"
    CANCELLED_BY_CUSTOMER = "CANCELLED_BY_CUSTOMER"
    RESERVATION_REFUSED = "RESERVATION_REFUSED"
    PAYMENT_REFUSED = "PAYMENT_REFUSED"


FORWARD = (Step.RESERVING_STOCK, Step.CHARGING_PAYMENT)
COMPENSATING = (Step.REFUNDING_PAYMENT, Step.RELEASING_STOCK)
TERMINAL = (Step.CONFIRMED, Step.REJECTED, Step.CANCELLED)
# What a compensation waits for.
AWAITED: dict[Step, tuple[type[Message], ...]] = {
    Step.REFUNDING_PAYMENT: (PaymentRefunded, PaymentVoided),
    Step.RELEASING_STOCK: (StockReleased,),
}
# Events after which an order has something that is not its own unless it is confirmed.
TAKES = (StockReserved, PaymentCharged)


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The step's patience has ended; `exhausted` once a compensation has been sent again for long enough."""

    exhausted: bool = False


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The customer does not want a pending order any more."""


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """The command of `step` can never be accepted; `why` is the receiver's word."""

    step: Step
    why: str = ""


@dataclass(frozen=True, slots=True)
class RetryRequested:
    """An operator wants a parked saga to go on.

    Args:
        heard: what the step waits for was heard before the step began. It is told again under the id that it had, so
            it would never be heard as new.
    """

    heard: bool = False


Event = Message | DeadlinePassed | CancelRequested | CommandRefused | RetryRequested


@dataclass(frozen=True, slots=True)
class Saga:
    """All that decides: the step, why and to what end it turned back, and whether it is parked."""

    step: Step = Step.RESERVING_STOCK
    reason: Reason | None = None
    outcome: Step | None = None
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Reaction:
    """The saga as it is now, the step whose command is to be sent, and whether the event was awaited."""

    saga: Saga
    send: Step | None = None
    awaited: bool = True


def react(saga: Saga, event: Event) -> Reaction:
    """The reaction of a saga to an event; every pair is defined."""
    match saga.step, event:
        case Step.RESERVING_STOCK, StockReserved():
            return _go(saga, Step.CHARGING_PAYMENT)
        case Step.RESERVING_STOCK, ReservationRefused():
            reason = Reason(ReservationRefused.Reason.Name(event.reason))
            return Reaction(Saga(Step.REJECTED, reason, Step.REJECTED))
        case Step.RESERVING_STOCK, DeadlinePassed():
            return _turn_back(Step.RELEASING_STOCK, Reason.RESERVATION_TIMED_OUT)
        case Step.RESERVING_STOCK, CancelRequested():
            return _turn_back(Step.RELEASING_STOCK, Reason.CANCELLED_BY_CUSTOMER)
        case Step.RESERVING_STOCK, CommandRefused(Step.RESERVING_STOCK):
            return _turn_back(Step.RELEASING_STOCK, Reason.RESERVATION_REFUSED)

        case Step.CHARGING_PAYMENT, PaymentCharged():
            return Reaction(Saga(Step.CONFIRMED))
        case Step.CHARGING_PAYMENT, PaymentRefunded() | PaymentVoided():
            # Somebody has undone it, or the card network did not do what it was asked to: nothing of ours is taken.
            return _turn_back(Step.RELEASING_STOCK, Reason.PAYMENT_REFUSED)
        case Step.CHARGING_PAYMENT, PaymentDeclined():
            return _turn_back(Step.RELEASING_STOCK, Reason.PAYMENT_DECLINED)
        case Step.CHARGING_PAYMENT, DeadlinePassed():
            return _turn_back(Step.REFUNDING_PAYMENT, Reason.PAYMENT_TIMED_OUT)
        case Step.CHARGING_PAYMENT, CancelRequested():
            return _turn_back(Step.REFUNDING_PAYMENT, Reason.CANCELLED_BY_CUSTOMER)
        case Step.CHARGING_PAYMENT, CommandRefused(Step.CHARGING_PAYMENT):
            return _turn_back(Step.REFUNDING_PAYMENT, Reason.PAYMENT_REFUSED)

        case Step.REFUNDING_PAYMENT, PaymentRefunded() | PaymentVoided():
            return _go(saga, Step.RELEASING_STOCK)
        case Step.REFUNDING_PAYMENT, RetryRequested(heard=True) if saga.parked:
            return _go(saga, Step.RELEASING_STOCK)
        case Step.RELEASING_STOCK, StockReleased() if saga.outcome is not None:
            return Reaction(Saga(saga.outcome, saga.reason, saga.outcome))
        case Step.RELEASING_STOCK, RetryRequested(heard=True) if saga.parked and saga.outcome is not None:
            return Reaction(Saga(saga.outcome, saga.reason, saga.outcome))

        case ((Step.REFUNDING_PAYMENT | Step.RELEASING_STOCK), DeadlinePassed(exhausted=False)):
            return Reaction(saga, send=saga.step)
        case ((Step.REFUNDING_PAYMENT | Step.RELEASING_STOCK), DeadlinePassed(exhausted=True)):
            return Reaction(_parked(saga))
        case ((Step.REFUNDING_PAYMENT | Step.RELEASING_STOCK), CommandRefused(refused)) if refused is saga.step:
            return Reaction(_parked(saga))
        case ((Step.REFUNDING_PAYMENT | Step.RELEASING_STOCK), CancelRequested()):
            return Reaction(saga)
        case ((Step.REFUNDING_PAYMENT | Step.RELEASING_STOCK), RetryRequested()) if saga.parked:
            return Reaction(Saga(saga.step, saga.reason, saga.outcome), send=saga.step)

        # What the order did not confirm must not stay taken, however late it is heard of.
        case ((Step.REJECTED | Step.CANCELLED), PaymentCharged()):
            return Reaction(saga, send=Step.REFUNDING_PAYMENT, awaited=False)
        case ((Step.REJECTED | Step.CANCELLED), StockReserved()):
            return Reaction(saga, send=Step.RELEASING_STOCK, awaited=False)
        case _:
            return Reaction(saga, awaited=False)


def _go(saga: Saga, step: Step) -> Reaction:
    return Reaction(Saga(step, saga.reason, saga.outcome), send=step)


def _turn_back(step: Step, reason: Reason) -> Reaction:
    outcome = Step.CANCELLED if reason is Reason.CANCELLED_BY_CUSTOMER else Step.REJECTED
    return Reaction(Saga(step, reason, outcome), send=step)


def _parked(saga: Saga) -> Saga:
    return Saga(saga.step, saga.reason, saga.outcome, parked=True)
