"""The saga's table, as data: what `saga.react` answers, asked for every saga there can be and for all it can hear.

a saga that was just begun ─▶ react to each event ─▶ a row, and the sagas to ask next
"""

from collections.abc import Callable, Iterator
from functools import cache

from shop.inventory.v1.inventory_events_pb2 import ReservationRefused, StockReleased, StockReserved, StockReturned
from shop.order.v1.order_events_pb2 import OrderPlaced
from shop.order.v1.order_pb2 import SagaTable, SagaTransition
from shop.payment.v1.payment_events_pb2 import PaymentCharged, PaymentDeclined, PaymentRefunded, PaymentVoided

from services.order import saga
from services.order.orchestrator import COMMANDS
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
)

React = Callable[[Saga, Event], Reaction]

# One for each reason but the first, which is none.
REFUSALS = tuple(ReservationRefused(reason=reason) for reason in ReservationRefused.Reason.keys()[1:])
FROM_INVENTORY = (StockReserved(), *REFUSALS, StockReleased(), StockReturned())
FROM_PAYMENT = (PaymentCharged(), PaymentDeclined(), PaymentRefunded(), PaymentVoided())
# All that a saga can hear, and what the table calls it.
HEARD: tuple[tuple[str, Event], ...] = (
    *((event.DESCRIPTOR.name, event) for event in (*FROM_INVENTORY, *FROM_PAYMENT)),
    ("deadline", DeadlinePassed()),
    ("last deadline", DeadlinePassed(exhausted=True)),
    ("cancel", CancelRequested()),
    *(("CommandRefused", CommandRefused(step)) for step in COMMANDS),
    ("RetrySaga", RetryRequested()),
    ("RetrySaga", RetryRequested(heard=True)),
)


@cache
def get_saga_table() -> SagaTable:
    """The table of the saga as it is."""
    return SagaTable(transitions=transitions(saga.react))


def transitions(react: React) -> list[SagaTransition]:
    """The row that begins a saga, then a row for each other transition, by step and in the order of `HEARD`."""
    rows: list[SagaTransition] = []
    for before, on, reaction in _reactions(react):
        row = _row(before, on, reaction)
        if _is_transition(before, reaction) and row not in rows:
            rows.append(row)
    order = {on: number for number, (on, _) in enumerate(HEARD)}
    begun = Saga()
    start = _row(None, OrderPlaced.DESCRIPTOR.name, Reaction(begun, send=begun.step))
    return [start, *sorted(rows, key=lambda row: (row.step, order[row.on], row.next))]


def _reactions(react: React) -> Iterator[tuple[Saga, str, Reaction]]:
    """What each saga that can come about does with each thing that it can hear."""
    known, unasked = {Saga()}, [Saga()]
    while unasked:
        before = unasked.pop()
        for on, event in HEARD:
            # As `handlers.pass_deadline` judges: a forward step that has waited for longer still turns back.
            if event == DeadlinePassed(exhausted=True) and before.step not in COMPENSATING:
                continue
            reaction = react(before, event)
            yield before, on, reaction
            if reaction.saga not in known:
                known.add(reaction.saga)
                unasked.append(reaction.saga)


def _is_transition(before: Saga, reaction: Reaction) -> bool:
    if before.parked and reaction.saga == before and reaction.send is None:
        # It stays parked; the row of the saga that is not parked tells what this event is for.
        return False
    return reaction.awaited or reaction.send is not None


def _row(before: Saga | None, on: str, reaction: Reaction) -> SagaTransition:
    return SagaTransition(
        step=before.step if before else None,
        on=on,
        next=reaction.saga.step,
        command=_command(reaction.send) if reaction.send else "",
        compensates=reaction.send in COMPENSATING,
        parks=reaction.saga.parked and not (before and before.parked),
    )


def _command(step: Step) -> str:
    return COMMANDS[step].method.rpartition("/")[2]
