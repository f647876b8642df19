"""What a scenario is: what it does, what it asks before, and what it can do to a running shop.

question and three choices ─▶ play(stage) ─▶ what was seen ─▶ exactly one choice holds
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]
# Spans by service and name.
Spans = tuple[tuple[str, str], ...]

BEANS = "espresso-beans"
VISA = "tok_visa"


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """The waits of the running system, in seconds; a scenario's own waits are made of them."""

    reserve: float
    charge: float
    compensation_retry: float
    park_after: float
    card_timeout: float
    silence: float
    slow: float


@dataclass(frozen=True)
class Placed:
    """An order that was accepted with 202."""

    order_id: str
    trace_id: str


@dataclass(frozen=True, kw_only=True)
class Order:
    """What became of one order: proto3 JSON as the APIs give it; payment and reservation are empty if there is none."""

    order: Json
    events: tuple[str, ...]
    timeline: tuple[Json, ...]
    payment: Json
    reservation: Json

    @property
    def status(self) -> str:
        return self.order["status"]

    @property
    def reason(self) -> str:
        return self.order.get("reason", "")

    def happened(self, event: str) -> int:
        """How often an event stands on the timeline, by its short name such as `PaymentCharged`."""
        return self.events.count(event)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """All that was seen: what the choices are judged by.

    orders: in the order of their placing.
    stock: how the available number of each article changed, restocking left out.
    spans: service and name of each span of the scenario's traces.
    notes: what the scenario itself has measured, by name.
    """

    orders: tuple[Order, ...]
    stock: Mapping[str, int]
    spans: tuple[tuple[str, str], ...]
    notes: Mapping[str, Any]

    @property
    def order(self) -> Order:
        """The only order, or the first."""
        return self.orders[0]

    def count(self, name: str) -> int:
        """How many spans have this name, whichever service's."""
        return sum(1 for _, found in self.spans if found == name)


@dataclass(frozen=True)
class Choice:
    """One answer to the question, and whether it came true."""

    text: str
    holds: Callable[[Seen], bool]


class Stage(Protocol):
    """What a scenario can do. Everything is said and shown as it happens; every wait is bounded.

    What a customer does goes through the gateway and is traced; what the stage asks for itself leaves no trace.
    """

    @property
    def deadlines(self) -> Deadlines: ...

    @property
    def customer(self) -> str:
        """`play-NAME` of the scenario."""
        ...

    def say(self, text: str) -> None:
        """One sentence about what is done now, in plain words."""
        ...

    def note(self, name: str, value: Any) -> None:
        """Remember a measured value for the choices: it is `Seen.notes[name]`."""
        ...

    async def stocked(self, sku: str, quantity: int) -> None:
        """Returns once at least so many are available; restocks what is missing."""
        ...

    async def available(self, sku: str) -> int: ...

    async def place(
        self, card_token: str = VISA, *, sku: str = BEANS, quantity: int = 2, key: str = "", follow: bool = True
    ) -> Placed:
        """POST /v1/orders. Its timeline is shown as it grows from now on, unless told.

        key: the Idempotency-Key; a POST that repeats one gives the first order again.
        """
        ...

    async def cancel(self, placed: Placed) -> None:
        """POST /v1/orders/{order_id}:cancel, as the customer; the trace of this request is shown too."""
        ...

    async def heard(self, placed: Placed, event: str, *, within_seconds: float = 10.0) -> None:
        """Returns once the event, by its short name, stands on the order's timeline."""
        ...

    async def ended(self, placed: Placed, *, within_seconds: float = 10.0) -> None:
        """Returns once the order is CONFIRMED, REJECTED or CANCELLED."""
        ...

    def status(self, placed: Placed) -> str:
        """The order's status, by its timeline so far."""
        ...

    async def settled(self, placed: Placed, *, payment: str = "", reservation: str = "") -> None:
        """Returns once payment and reservation are in these states, such as REFUNDED and RETURNED."""
        ...

    async def call(self, method: str, request: Json) -> Json:
        """One RPC by hand, such as `inventory/ReleaseStock`; traced like any other."""
        ...

    def shows(self, title: str, order_id: str, operation: str, service: str, told: Spans) -> None:
        """Show, beside the orders' own traces, the trace with such a span about this order.

        title: what it is; it is part of the skeleton.
        told: spans, by service and name, without which the trace has not told everything.
        """
        ...

    def broken(self, part: str, how: str) -> AbstractAsyncContextManager[None]:
        """Inside the block the part is broken: `stop`, `freeze`, or `down` for kafka; healed and ready after it."""
        ...

    async def copied(self, topic: str, placed: Placed, event: str) -> None:
        """Send a message that is on the topic once more, byte for byte, id and headers included."""
        ...

    async def published(self, topic: str, value: bytes, headers: Mapping[str, str], key: str) -> Json:
        """Write a message as anybody could; returns its topic, partition and offset."""
        ...

    async def dead_letter(self, topic: str, event_id: str, *, copies: int = 1) -> Json:
        """The newest dead letter of this event id, once there are so many: id, reason, group, topic."""
        ...

    async def redriven(self, letter: Json) -> None:
        """Send a dead letter back to its topic, as an operator."""
        ...

    async def parked(self, placed: Placed, *, within_seconds: float) -> Json:
        """The order's saga, once it is parked."""
        ...

    async def retried(self, placed: Placed) -> None: ...

    async def told(self, order_id: str, operation: str, service: str, told: Spans) -> None:
        """Returns once the trace with such a span about this order has those spans too."""
        ...

    async def workers(self, placed: Placed, service: str, told: Spans) -> frozenset[str]:
        """The processes of a service that have worked for an order, by its trace once that has told everything."""
        ...

    def replicas(self, **counts: int) -> AbstractAsyncContextManager[None]:
        """Inside the block so many of each service run."""
        ...

    async def during(self, seconds: float, why: str) -> None:
        """Let an outage last, with a countdown."""
        ...


def _no_waits(_: Deadlines) -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One thing that can happen to an order.

    name: as it is typed; its file is the same with underscores.
    title: what happens, in one line.
    does: what it will do, a sentence each, said before the question.
    waits: the deadlines, silences and outages that it takes, by what they are; in seconds. Beyond them it takes 3 s at
        most, or `slack_seconds`.
    question, choices: asked before, answered after; exactly one of the three comes true.
    shown_by: the span that shows it, by service and name; the first of several, or with `shown_last` the last.
    lesson: what to take home, in one or two sentences, said at the end.
    play: the acts.
    told: spans, by service and name, without which the first order's trace has not told everything; twice what comes
        twice. Nothing, if that trace is not shown.
    repeats: names of spans that repeat by chance, so that a skeleton writes `×1..n`.
    any_order: names of spans whose order among siblings is chance.
    sometimes: spans that are there or not by chance, by name and by what a skeleton says of them or of what is below
        them, such as `inbox=duplicate`; a skeleton leaves them out.
    containers_only: why it cannot be shown embedded; empty if it can.
    """

    name: str
    title: str
    does: tuple[str, ...]
    question: str
    choices: tuple[Choice, Choice, Choice]
    shown_by: tuple[str, str]
    lesson: str
    play: Callable[[Stage], Awaitable[None]]
    told: Spans
    waits: Callable[[Deadlines], Mapping[str, float]] = _no_waits
    slack_seconds: float = 3.0
    shown_last: bool = False
    repeats: tuple[str, ...] = ()
    any_order: tuple[str, ...] = ()
    sometimes: tuple[tuple[str, str], ...] = ()
    containers_only: str = ""
