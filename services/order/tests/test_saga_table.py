"""The saga's table as data: what the saga does, no more, no less, and nothing that was written by hand."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from shop.inventory.v1.inventory_events_pb2 import ReservationRefused, StockReleased, StockReserved, StockReturned
from shop.order.v1.order_pb2 import Saga as SagaMessage
from shop.order.v1.order_pb2 import SagaTransition
from shop.payment.v1.payment_events_pb2 import PaymentCharged, PaymentDeclined, PaymentRefunded, PaymentVoided

from services.order import saga_table
from services.order.__main__ import subscription
from services.order.saga import (
    COMPENSATING,
    CancelRequested,
    CommandRefused,
    DeadlinePassed,
    Event,
    Reaction,
    RetryRequested,
    Saga,
    Step,
    react,
)
from services.order.settings import OrderSettings

# step, what it hears, the next step, the command it sends; whether that undoes something, or an operator is needed.
TABLE = """
                  | OrderPlaced        | RESERVING_STOCK   | ReserveStock  |
RESERVING_STOCK   | StockReserved      | CHARGING_PAYMENT  | ChargePayment |
RESERVING_STOCK   | ReservationRefused | REJECTED          |               |
RESERVING_STOCK   | deadline           | RELEASING_STOCK   | ReleaseStock  | undoes
RESERVING_STOCK   | cancel             | RELEASING_STOCK   | ReleaseStock  | undoes
RESERVING_STOCK   | CommandRefused     | RELEASING_STOCK   | ReleaseStock  | undoes
CHARGING_PAYMENT  | PaymentCharged     | CONFIRMED         |               |
CHARGING_PAYMENT  | PaymentDeclined    | RELEASING_STOCK   | ReleaseStock  | undoes
CHARGING_PAYMENT  | PaymentRefunded    | RELEASING_STOCK   | ReleaseStock  | undoes
CHARGING_PAYMENT  | PaymentVoided      | RELEASING_STOCK   | ReleaseStock  | undoes
CHARGING_PAYMENT  | deadline           | REFUNDING_PAYMENT | RefundPayment | undoes
CHARGING_PAYMENT  | cancel             | REFUNDING_PAYMENT | RefundPayment | undoes
CHARGING_PAYMENT  | CommandRefused     | REFUNDING_PAYMENT | RefundPayment | undoes
REFUNDING_PAYMENT | PaymentRefunded    | RELEASING_STOCK   | ReleaseStock  | undoes
REFUNDING_PAYMENT | PaymentVoided      | RELEASING_STOCK   | ReleaseStock  | undoes
REFUNDING_PAYMENT | deadline           | REFUNDING_PAYMENT | RefundPayment | undoes
REFUNDING_PAYMENT | last deadline      | REFUNDING_PAYMENT |               | parks
REFUNDING_PAYMENT | cancel             | REFUNDING_PAYMENT |               |
REFUNDING_PAYMENT | CommandRefused     | REFUNDING_PAYMENT |               | parks
REFUNDING_PAYMENT | RetrySaga          | REFUNDING_PAYMENT | RefundPayment | undoes
REFUNDING_PAYMENT | RetrySaga          | RELEASING_STOCK   | ReleaseStock  | undoes
RELEASING_STOCK   | StockReleased      | REJECTED          |               |
RELEASING_STOCK   | StockReleased      | CANCELLED         |               |
RELEASING_STOCK   | deadline           | RELEASING_STOCK   | ReleaseStock  | undoes
RELEASING_STOCK   | last deadline      | RELEASING_STOCK   |               | parks
RELEASING_STOCK   | cancel             | RELEASING_STOCK   |               |
RELEASING_STOCK   | CommandRefused     | RELEASING_STOCK   |               | parks
RELEASING_STOCK   | RetrySaga          | RELEASING_STOCK   | ReleaseStock  | undoes
RELEASING_STOCK   | RetrySaga          | REJECTED          |               |
RELEASING_STOCK   | RetrySaga          | CANCELLED         |               |
REJECTED          | StockReserved      | REJECTED          | ReleaseStock  | undoes
REJECTED          | PaymentCharged     | REJECTED          | RefundPayment | undoes
CANCELLED         | StockReserved      | CANCELLED         | ReleaseStock  | undoes
CANCELLED         | PaymentCharged     | CANCELLED         | RefundPayment | undoes
"""


class Row(NamedTuple):
    step: str
    on: str
    next: str
    command: str
    then: str


def written() -> list[Row]:
    return [Row(*map(str.strip, line.split("|"))) for line in TABLE.strip("\n").splitlines()]


def told(transition: SagaTransition) -> Row:
    assert not (transition.compensates and transition.parks)
    return Row(
        SagaMessage.Step.Name(transition.step) if transition.HasField("step") else "",
        transition.on,
        SagaMessage.Step.Name(transition.next),
        transition.command,
        "undoes" if transition.compensates else "parks" if transition.parks else "",
    )


def rows(changed: saga_table.React = react) -> list[Row]:
    return [told(transition) for transition in saga_table.transitions(changed)]


def test_the_table_is_that_of_the_design() -> None:
    """Row for row; the reasons for which the same thing happens share a row."""
    assert rows() == written()
    assert [told(transition) for transition in saga_table.get_saga_table().transitions] == written()


def test_a_saga_that_decides_otherwise_has_another_table() -> None:
    """Nothing is written by hand: a row that changes, one that goes, and a step that is now reached by nobody."""

    def hasty(saga: Saga, event: Event) -> Reaction:
        if isinstance(event, PaymentDeclined) and saga.step is Step.CHARGING_PAYMENT:
            return Reaction(Saga(Step.CONFIRMED))
        if isinstance(event, CommandRefused):
            return Reaction(saga, awaited=False)
        return react(saga, event)

    after = rows(hasty)
    assert [row for row in after if row not in written()] == [
        Row("CHARGING_PAYMENT", "PaymentDeclined", "CONFIRMED", "", "")
    ]
    assert [(row.step, row.on) for row in written() if row not in after] == [
        ("RESERVING_STOCK", "CommandRefused"),
        ("CHARGING_PAYMENT", "PaymentDeclined"),
        ("CHARGING_PAYMENT", "CommandRefused"),
        ("REFUNDING_PAYMENT", "CommandRefused"),
        ("RELEASING_STOCK", "CommandRefused"),
    ]

    def stubborn(saga: Saga, event: Event) -> Reaction:
        return Reaction(saga, awaited=False) if isinstance(event, CancelRequested) else react(saga, event)

    assert {row.next for row in rows()} - {row.next for row in rows(stubborn)} == {"CANCELLED"}


def test_all_that_the_order_service_hears_is_asked_for(settings: OrderSettings) -> None:
    """An event that is subscribed to and left out here would be missing from the table."""
    events = {type(event) for event in (*saga_table.FROM_INVENTORY, *saga_table.FROM_PAYMENT)}
    assert events == set(subscription(settings).handlers)


EVENTS: list[tuple[str, Event]] = [
    ("StockReserved", StockReserved()),
    ("ReservationRefused", ReservationRefused(reason=ReservationRefused.OUT_OF_STOCK)),
    ("ReservationRefused", ReservationRefused(reason=ReservationRefused.UNKNOWN_SKU)),
    ("StockReleased", StockReleased()),
    ("StockReturned", StockReturned()),
    ("PaymentCharged", PaymentCharged()),
    ("PaymentDeclined", PaymentDeclined()),
    ("PaymentRefunded", PaymentRefunded()),
    ("PaymentVoided", PaymentVoided()),
    ("deadline", DeadlinePassed()),
    ("last deadline", DeadlinePassed(exhausted=True)),
    ("cancel", CancelRequested()),
    ("RetrySaga", RetryRequested()),
    ("RetrySaga", RetryRequested(heard=True)),
    ("CommandRefused", CommandRefused(Step.RESERVING_STOCK, "too late")),
    ("CommandRefused", CommandRefused(Step.CHARGING_PAYMENT, "too late")),
    ("CommandRefused", CommandRefused(Step.REFUNDING_PAYMENT, "too late")),
    ("CommandRefused", CommandRefused(Step.RELEASING_STOCK, "too late")),
]
SENT = {
    None: ("", ""),
    Step.RESERVING_STOCK: ("ReserveStock", ""),
    Step.CHARGING_PAYMENT: ("ChargePayment", ""),
    Step.REFUNDING_PAYMENT: ("RefundPayment", "undoes"),
    Step.RELEASING_STOCK: ("ReleaseStock", "undoes"),
}


@given(st.lists(st.sampled_from(EVENTS), max_size=30))
def test_whatever_a_saga_lives_through_stands_in_the_table(life: list[tuple[str, Event]]) -> None:
    """Any events in any order: what was awaited, and what was answered with a command, has its row."""
    table, saga = set(rows()), Saga()
    for on, event in life:
        if on == "last deadline" and saga.step not in COMPENSATING:
            continue
        before, reaction = saga, react(saga, event)
        saga = reaction.saga
        # What leaves a parked saga as it is does nothing to it.
        if (reaction.awaited or reaction.send) and not (before.parked and saga == before and not reaction.send):
            command, then = SENT[reaction.send]
            parks = saga.parked and not before.parked
            assert Row(before.step, on, saga.step, command, "parks" if parks else then) in table
        elif not before.parked:
            assert saga == before
