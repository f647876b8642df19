"""Transactional outbox, the writing half: an event is a row in the transaction that made it true.

The reading half is relay.py. Nothing here commits.
"""

from typing import Any
from uuid import UUID

from google.protobuf.message import Message
from uuid_utils.compat import uuid7

from chassis import message_spans, telemetry
from chassis.database import Sql, Transaction

CHANNEL = "outbox"

_INSERT = Sql(
    "INSERT outbox",
    """
    INSERT INTO outbox (id, topic, subject, sequence, type, payload, traceparent, tracestate)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:topics AS text[]), CAST(:subjects AS text[]),
                         CAST(:sequences AS bigint[]), CAST(:types AS text[]), CAST(:payloads AS bytea[]),
                         CAST(:traceparents AS text[]), CAST(:tracestates AS text[]))
    """,
)
_REPUBLISH = Sql(
    "UPDATE outbox",
    """
    UPDATE outbox SET published_at = NULL
    WHERE subject = :subject AND sequence = :sequence AND published_at IS NOT NULL
    """,
)


def publish(transaction: Transaction, topic: str, event: Message, *, subject: str, sequence: int) -> UUID:
    """Promise to tell the world `event`, if the transaction commits.

    Args:
        subject: the aggregate's id; the Kafka key.
        sequence: the aggregate's version after this event. The caller holds the aggregate's lock, so that versions
            commit in their order.

    Returns:
        The event's id, the same at every delivery.
    """
    event_id = uuid7()
    created = message_spans.create(topic, event_id, subject, event.DESCRIPTOR.full_name)
    created.end()
    row = (event_id, topic, subject, sequence, event.DESCRIPTOR.full_name, event.SerializeToString())
    transaction.collect(_insert, (*row, *telemetry.store(created)))
    transaction.notify(CHANNEL)
    return event_id


async def republish(transaction: Transaction, *, subject: str, sequence: int) -> None:
    """Tell the world again, under the event's original id: whoever lost it hears it, whoever has it ignores it.

    An event past its retention is gone; whoever still waits for it has been parked for days.
    """
    await transaction.run(_REPUBLISH, subject=subject, sequence=sequence)
    transaction.notify(CHANNEL)


async def _insert(transaction: Transaction, rows: list[Any]) -> None:
    names = ("ids", "topics", "subjects", "sequences", "types", "payloads", "traceparents", "tracestates")
    await transaction.run(
        _INSERT, **{name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    )
