"""The story of an order: each turn of its saga is a span below the order's span, and links to what caused it.

POST ─ PlaceOrder ─┬─ saga heard …     an event; links to the span that processes it
 (the order's span)├─ saga deadline    a timer; always here
                   └─ saga cancel      a customer or an operator; links to the request
                                       long after the POST: below the request, which links to the order's span
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from opentelemetry.trace import Link, get_current_span

from chassis import telemetry
from chassis.database import Transaction
from chassis.source import code
from services.order import fulfilment, saga
from services.order.fulfilment import Fulfilment
from services.order.saga import COMPENSATING, CommandRefused, DeadlinePassed, RetryRequested, Saga
from services.order.settings import OrderSettings

# Facts that only the saga knows stand on the timeline under this name.
FACT = "shop.order.v1.Saga."


@contextmanager
def heard(transaction: Transaction, order: Fulfilment, event: str) -> Generator[None]:
    """The saga hears an event, or the refusal of a command; the current span brought it."""
    cause = Link(get_current_span().get_span_context())
    order.turn = order.story if order.story.traceparent else order.trace
    with _turn(transaction, order, f"saga heard {event}", [cause]):
        yield


@contextmanager
def asked(transaction: Transaction, order: Fulfilment, name: str, story_seconds: float) -> Generator[None]:
    """A customer or an operator wants something; the current span is the request.

    What is asked for more than `story_seconds` after the POST, and all that follows from it, stays in the request's
    trace, so that the order's trace is not drawn as a sliver before a long silence.
    """
    request, to_order = get_current_span(), telemetry.link(order.trace)
    for link in to_order:
        request.add_link(link.context)
    if order.age_seconds > story_seconds:
        order.turn = order.story = telemetry.store(request)
        links = to_order
    else:
        order.turn, links = order.trace, [Link(request.get_span_context())]
    with _turn(transaction, order, name, links):
        yield


@contextmanager
def _turn(transaction: Transaction, order: Fulfilment, name: str, links: Sequence[Link]) -> Generator[None]:
    attributes = {telemetry.ORDER_ID: order.order_id, **code(saga.react)}
    span = telemetry.start_span(name, attributes=attributes, parent=telemetry.restore(order.turn), links=links)
    transaction.keep_open(span.end)
    with telemetry.inside(span, saga.react):
        yield


class Fact(NamedTuple):
    """What only the saga knows, such as that it turned back, and why."""

    name: str
    detail: str


def facts(before: Saga, event: object, after: Saga, settings: OrderSettings) -> Iterator[Fact]:
    """What a turn says beside the event that caused it."""
    match event:
        case DeadlinePassed(exhausted):
            seconds = settings.park_after_seconds if exhausted else fulfilment.patience_seconds(before, settings)
            yield Fact("DeadlinePassed", f"{before.step}: no answer within {seconds:g} s")
        case CommandRefused(step, why):
            yield Fact("CommandRefused", f"{step}: {why[:200]}")
        case RetryRequested() if before.parked:
            yield Fact("Retried", str(before.step))
        case _:
            pass
    if before.reason is None and after.reason is not None and after.step in COMPENSATING:
        yield Fact("TurnedBack", str(after.reason))
    if after.parked and not before.parked:
        yield Fact("Parked", str(after.step))
