"""Which event goes to which handler: a subscription is a consumer group's whole routing table, in plain sight."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError, Message

from chassis import messages
from chassis.database import Transaction
from chassis.messages import Envelope, Poison

Handler = Callable[[Transaction, Any, Envelope], Awaitable[None]]


@dataclass(frozen=True)
class Subscription:
    """What one consumer group hears.

    Args:
        group: `<service>.<role>`.
        topics: where it listens.
        handlers: the event's message class, and what is done about it, in the transaction of its inbox row.
        ignored: events of these topics that the group knows and does nothing about. Any other type is poison: an event
            that nobody expected must be seen, not lost.
    """

    group: str
    topics: tuple[str, ...]
    handlers: Mapping[type[Message], Handler]
    ignored: tuple[type[Message], ...] = ()
    _by_name: dict[str, tuple[type[Message], Handler | None]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for event, handler in self.handlers.items():
            self._by_name[event.DESCRIPTOR.full_name] = (event, handler)
        for event in self.ignored:
            self._by_name[event.DESCRIPTOR.full_name] = (event, None)

    def ignores(self, envelope: Envelope) -> bool:
        """Whether nothing is to be done about the event.

        Raises:
            Poison: it is of a type that the group knows, and broken.
        """
        event, handler = self._by_name.get(envelope.type, (None, None))
        if event is None or handler is not None:
            return False
        _decoded(event, envelope)
        return True

    def route(self, envelope: Envelope) -> tuple[Message, Handler]:
        """The decoded event and its handler.

        Raises:
            Poison: the type is unknown, or the payload is not of that type, or about another order than the subject.
        """
        event, handler = self._by_name.get(envelope.type, (None, None))
        if event is None or handler is None:
            raise Poison(f"unknown type {envelope.type}")
        return _decoded(event, envelope), handler


def _decoded(event: type[Message], envelope: Envelope) -> Message:
    try:
        decoded = event.FromString(envelope.payload)
    except DecodeError as error:
        raise Poison(f"{envelope.type} does not decode: {error}") from None
    messages.check_order(decoded, envelope)
    return decoded
