"""Messages on Kafka, decoded for a reader: events, dead letters, and what is neither."""

import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka.errors import KafkaConnectionError, KafkaError
from google.protobuf.descriptor_pool import Default
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from shop.inventory.v1 import inventory_events_pb2
from shop.order.v1 import order_events_pb2
from shop.payment.v1 import payment_events_pb2

from chassis import messages, rfc3339
from chassis.messages import Poison
from chassis.onlooker import Record
from cli.failures import NoSystem
from infra.local.spans import one_line

# Imported, so that the pool knows their messages.
EVENTS = (inventory_events_pb2, order_events_pb2, payment_events_pb2)

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """One message; of poison only what can be read, and in `poison` why it cannot be handled."""

    record: Record
    time: datetime
    type: str
    order_id: str
    sequence: int | None
    trace_id: str
    payload: Json | None
    poison: str

    @property
    def name(self) -> str:
        """The type without its package."""
        return self.type.rpartition(".")[2] or "?"

    def as_json(self) -> Json:
        record = self.record
        return {
            "time": self.time.isoformat(),
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "type": self.type,
            "orderId": self.order_id,
            "sequence": self.sequence,
            "traceId": self.trace_id,
            "payload": self.payload,
            "poison": self.poison or None,
        }


def decode(record: Record) -> Decoded:
    """Whatever a message is, it is told; nothing of it reaches a terminal that a terminal would obey."""
    said = {name: value for name, value in headers_of(record.headers).items() if value is not None}
    payload: Json | None = None
    poison = ""
    try:
        payload = _payload(record)
    except Poison as why:
        poison = one_line(str(why))
    trace = said.get("traceparent", "").split("-")
    return Decoded(
        record=record,
        time=_time(said.get("ce_time", ""), record),
        type=said.get("ce_type", ""),
        order_id=said.get("ce_subject", ""),
        sequence=int(said["ce_sequence"]) if messages.NUMBER.fullmatch(said.get("ce_sequence", "")) else None,
        trace_id=trace[1] if len(trace) == 4 else "",
        payload=payload,
        poison=poison,
    )


def headers_of(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str | None]:
    """A message's headers as text, each on one line; one may be null on Kafka."""
    return {
        one_line(name): None if value is None else one_line(value.decode(errors="replace")) for name, value in headers
    }


def _payload(record: Record) -> Json:
    """What the event says.

    Raises:
        Poison: it is no event, or nobody knows its type.
    """
    envelope = messages.parse(record.headers, record.value, record.timestamp)
    try:
        found = Default().FindMessageTypeByName(envelope.type)
    except KeyError:
        raise Poison(f"nobody knows the type {envelope.type}") from None
    message = GetMessageClass(found)()
    try:
        message.ParseFromString(envelope.payload)
    except DecodeError as error:
        raise Poison(f"the payload is no {envelope.type}: {error}") from None
    messages.check_order(message, envelope)
    return MessageToDict(message)


def _time(said: str, record: Record) -> datetime:
    try:
        return rfc3339.read(said)
    except ValueError:
        return messages.recorded_at(record.timestamp)


@asynccontextmanager
async def asking(kafka: str) -> AsyncGenerator[None]:
    """What is asked of Kafka inside is not answered: a failure that says so.

    Raises:
        NoSystem: as it says.
    """
    # The library logs each refused connection; what is worth saying is said here, once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        yield
    except (KafkaError, TimeoutError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        is_away = isinstance(error, (KafkaConnectionError, TimeoutError, OSError))
        said = "does not answer" if is_away else f"refuses: {error}"
        raise NoSystem(f"Kafka at {kafka} {said}; `./shop doctor` says more.") from None
