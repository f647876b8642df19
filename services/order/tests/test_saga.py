"""The saga's table, row by row, and what holds for every order of events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop.inventory.v1.inventory_events_pb2 import ReservationRefused, StockReleased, StockReserved, StockReturned
from shop.order.v1.order_pb2 import Order
from shop.order.v1.order_pb2 import Saga as SagaMessage
from shop.payment.v1.payment_events_pb2 import PaymentCharged, PaymentDeclined, PaymentRefunded, PaymentVoided

from services.order.saga import (
    COMPENSATING,
    FORWARD,
    TERMINAL,
    CancelRequested,
    CommandRefused,
    DeadlinePassed,
    Event,
    Reaction,
    Reason,
    RetryRequested,
    Saga,
    Step,
    react,
)

OUT_OF_STOCK = ReservationRefused(reason=ReservationRefused.OUT_OF_STOCK)
UNKNOWN_SKU = ReservationRefused(reason=ReservationRefused.UNKNOWN_SKU)
REFUNDING = Saga(Step.REFUNDING_PAYMENT, Reason.PAYMENT_TIMED_OUT, Step.REJECTED)
REFUNDED = Saga(Step.RELEASING_STOCK, Reason.PAYMENT_TIMED_OUT, Step.REJECTED)
RELEASING = Saga(Step.RELEASING_STOCK, Reason.PAYMENT_DECLINED, Step.REJECTED)
CANCELLING = Saga(Step.RELEASING_STOCK, Reason.CANCELLED_BY_CUSTOMER, Step.CANCELLED)
REJECTED = Saga(Step.REJECTED, Reason.PAYMENT_DECLINED, Step.REJECTED)
CANCELLED = Saga(Step.CANCELLED, Reason.CANCELLED_BY_CUSTOMER, Step.CANCELLED)
CHARGING = Saga(Step.CHARGING_PAYMENT)


def turned_back(step: Step, reason: Reason, outcome: Step = Step.REJECTED) -> Reaction:
    return Reaction(Saga(step, reason, outcome), send=step)


def parked(saga: Saga) -> Saga:
    return Saga(saga.step, saga.reason, saga.outcome, parked=True)


TABLE: list[tuple[Saga, Event, Reaction]] = [
    (Saga(), StockReserved(), Reaction(CHARGING, send=Step.CHARGING_PAYMENT)),
    (Saga(), OUT_OF_STOCK, Reaction(Saga(Step.REJECTED, Reason.OUT_OF_STOCK, Step.REJECTED))),
    (Saga(), UNKNOWN_SKU, Reaction(Saga(Step.REJECTED, Reason.UNKNOWN_SKU, Step.REJECTED))),
    (Saga(), DeadlinePassed(), turned_back(Step.RELEASING_STOCK, Reason.RESERVATION_TIMED_OUT)),
    (Saga(), CancelRequested(), turned_back(Step.RELEASING_STOCK, Reason.CANCELLED_BY_CUSTOMER, Step.CANCELLED)),
    (
        Saga(),
        CommandRefused(Step.RESERVING_STOCK),
        turned_back(Step.RELEASING_STOCK, Reason.RESERVATION_REFUSED),
    ),
    (CHARGING, PaymentCharged(), Reaction(Saga(Step.CONFIRMED))),
    (CHARGING, PaymentRefunded(), turned_back(Step.RELEASING_STOCK, Reason.PAYMENT_REFUSED)),
    (CHARGING, PaymentVoided(), turned_back(Step.RELEASING_STOCK, Reason.PAYMENT_REFUSED)),
    (CHARGING, PaymentDeclined(), turned_back(Step.RELEASING_STOCK, Reason.PAYMENT_DECLINED)),
    (CHARGING, DeadlinePassed(), turned_back(Step.REFUNDING_PAYMENT, Reason.PAYMENT_TIMED_OUT)),
    (CHARGING, CancelRequested(), turned_back(Step.REFUNDING_PAYMENT, Reason.CANCELLED_BY_CUSTOMER, Step.CANCELLED)),
    (CHARGING, CommandRefused(Step.CHARGING_PAYMENT), turned_back(Step.REFUNDING_PAYMENT, Reason.PAYMENT_REFUSED)),
    (REFUNDING, PaymentRefunded(), Reaction(REFUNDED, Step.RELEASING_STOCK)),
    (REFUNDING, PaymentVoided(), Reaction(REFUNDED, Step.RELEASING_STOCK)),
    (REFUNDING, PaymentCharged(), Reaction(REFUNDING, awaited=False)),
    (REFUNDING, PaymentDeclined(), Reaction(REFUNDING, awaited=False)),
    (REFUNDING, DeadlinePassed(), Reaction(REFUNDING, send=Step.REFUNDING_PAYMENT)),
    (REFUNDING, DeadlinePassed(exhausted=True), Reaction(parked(REFUNDING))),
    (REFUNDING, CommandRefused(Step.REFUNDING_PAYMENT), Reaction(parked(REFUNDING))),
    (REFUNDING, CommandRefused(Step.CHARGING_PAYMENT), Reaction(REFUNDING, awaited=False)),
    (REFUNDING, CancelRequested(), Reaction(REFUNDING)),
    (parked(REFUNDING), PaymentVoided(), Reaction(REFUNDED, Step.RELEASING_STOCK)),
    (parked(REFUNDING), RetryRequested(), Reaction(REFUNDING, send=Step.REFUNDING_PAYMENT)),
    (parked(REFUNDING), RetryRequested(heard=True), Reaction(REFUNDED, Step.RELEASING_STOCK)),
    (REFUNDING, RetryRequested(heard=True), Reaction(REFUNDING, awaited=False)),
    (RELEASING, StockReleased(), Reaction(REJECTED)),
    (CANCELLING, StockReleased(), Reaction(CANCELLED)),
    (RELEASING, StockReserved(), Reaction(RELEASING, awaited=False)),
    (RELEASING, DeadlinePassed(), Reaction(RELEASING, send=Step.RELEASING_STOCK)),
    (RELEASING, DeadlinePassed(exhausted=True), Reaction(parked(RELEASING))),
    (RELEASING, CommandRefused(Step.RELEASING_STOCK), Reaction(parked(RELEASING))),
    (RELEASING, CancelRequested(), Reaction(RELEASING)),
    (parked(RELEASING), StockReleased(), Reaction(REJECTED)),
    (parked(RELEASING), RetryRequested(), Reaction(RELEASING, send=Step.RELEASING_STOCK)),
    (parked(RELEASING), RetryRequested(heard=True), Reaction(REJECTED)),
    (parked(CANCELLING), RetryRequested(heard=True), Reaction(CANCELLED)),
    (CANCELLED, PaymentVoided(), Reaction(CANCELLED, awaited=False)),
    (REJECTED, PaymentCharged(), Reaction(REJECTED, send=Step.REFUNDING_PAYMENT, awaited=False)),
    (CANCELLED, PaymentCharged(), Reaction(CANCELLED, send=Step.REFUNDING_PAYMENT, awaited=False)),
    (REJECTED, StockReserved(), Reaction(REJECTED, send=Step.RELEASING_STOCK, awaited=False)),
    (CANCELLED, StockReserved(), Reaction(CANCELLED, send=Step.RELEASING_STOCK, awaited=False)),
    (Saga(Step.CONFIRMED), PaymentCharged(), Reaction(Saga(Step.CONFIRMED), awaited=False)),
    (Saga(Step.CONFIRMED), PaymentRefunded(), Reaction(Saga(Step.CONFIRMED), awaited=False)),
    (Saga(Step.CONFIRMED), StockReturned(), Reaction(Saga(Step.CONFIRMED), awaited=False)),
    (Saga(), PaymentCharged(), Reaction(Saga(), awaited=False)),
    (CHARGING, StockReserved(), Reaction(CHARGING, awaited=False)),
    (REJECTED, StockReleased(), Reaction(REJECTED, awaited=False)),
]


@pytest.mark.parametrize(("saga", "event", "reaction"), TABLE)
def test_every_row_of_the_table(saga: Saga, event: Event, reaction: Reaction) -> None:
    """A saga at a step reacts to an event as its table says."""
    assert react(saga, event) == reaction


def test_the_steps_and_reasons_are_those_of_the_protos() -> None:
    """What is stored can be told: the names agree with the protos."""
    assert {step.value for step in Step} == set(SagaMessage.Step.keys()) - {"STEP_UNSPECIFIED"}
    assert {reason.value for reason in Reason} == set(Order.Reason.keys()) - {"REASON_UNSPECIFIED"}


class Participants:
    """Inventory and payment as the saga may count on them: idempotent, with tombstones, every outcome told."""

    def __init__(self, *, has_stock: bool, has_money: bool) -> None:
        self.has_stock, self.has_money = has_stock, has_money
        self.stock = self.money = "untouched"
        self.stock_outcome: Event | None = None
        self.money_outcome: Event | None = None

    def deliver(self, step: Step) -> list[Event]:
        match step:
            case Step.RESERVING_STOCK:
                if self.stock == "untouched":
                    self.stock = "held" if self.has_stock else "refused"
                    self.stock_outcome = StockReserved() if self.has_stock else OUT_OF_STOCK
                return [self.stock_outcome] if self.stock_outcome else []
            case Step.RELEASING_STOCK:
                self.stock = "released"
                self.stock_outcome = StockReleased()
                return [self.stock_outcome]
            case Step.CHARGING_PAYMENT:
                if self.money == "untouched":
                    self.money = "charged" if self.has_money else "declined"
                    self.money_outcome = PaymentCharged() if self.has_money else PaymentDeclined()
                return [self.money_outcome] if self.money_outcome else []
            case _:
                self.money_outcome = PaymentRefunded() if self.money == "charged" else PaymentVoided()
                self.money = "undone"
                return [self.money_outcome]


@given(st.booleans(), st.booleans(), st.data())
def test_whatever_the_order_of_events_the_saga_ends_once_and_undoes_what_it_did(
    has_stock: bool, has_money: bool, data: st.DataObject
) -> None:
    """Commands are delivered late, repeated and reordered, events too, timers and cancels come at any moment: the saga
    ends in exactly one terminal state, and what was done equals what was undone unless it is confirmed."""
    participants = Participants(has_stock=has_stock, has_money=has_money)
    saga = Saga()
    commands: list[Step] = [Step.RESERVING_STOCK]
    events: list[Event] = []
    delivered: list[Event] = []
    ended: set[Step] = set()
    chaos = data.draw(st.integers(0, 25))
    for turn in range(200):
        wild = turn < chaos
        choices = [name for name, there in (("command", commands), ("event", events)) if there]
        if wild or not choices:
            choices.append("deadline")
        if wild:
            choices.append("cancel")
            choices += ["repeat"] * bool(delivered) + ["lose an answer"] * bool(commands)
        if not wild and not commands and not events and saga.step in TERMINAL:
            break
        match data.draw(st.sampled_from(choices)):
            case "command":
                events += participants.deliver(commands.pop(data.draw(st.integers(0, len(commands) - 1))))
                continue
            case "lose an answer":
                events += participants.deliver(data.draw(st.sampled_from(commands)))
                continue
            case "event":
                event = events.pop(data.draw(st.integers(0, len(events) - 1)) if wild else 0)
                delivered.append(event)
            case "repeat":
                event = data.draw(st.sampled_from(delivered))
            case "cancel":
                event = CancelRequested()
            case _:
                event = DeadlinePassed()
        reaction = react(saga, event)
        if saga.step in FORWARD and reaction.saga.step in COMPENSATING:
            commands = [step for step in commands if step not in FORWARD]
        if reaction.send is not None:
            commands.append(reaction.send)
        saga = reaction.saga
        if saga.step in TERMINAL:
            ended.add(saga.step)
    assert saga.step in TERMINAL
    assert ended == {saga.step}
    if saga.step is Step.CONFIRMED:
        assert (participants.stock, participants.money) == ("held", "charged")
    else:
        assert participants.stock != "held"
        assert participants.money != "charged"
