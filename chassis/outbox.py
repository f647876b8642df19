"""Transactional outbox, the writing half: an event is a row in the transaction that made it true.

The reading half is relay.py. Nothing here commits.
"""

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from google.protobuf.message import Message
from opentelemetry.trace import Span
from uuid_utils.compat import uuid7

from chassis import message_spans, telemetry
from chassis.database import Sql, Transaction

CHANNEL = "outbox"

_INSERT = Sql(
    "INSERT outbox",
    """
    INSERT INTO outbox (id, topic, subject, sequence, type, payload, created_at, traceparent, tracestate)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:topics AS text[]), CAST(:subjects AS text[]),
                         CAST(:sequences AS bigint[]), CAST(:types AS text[]), CAST(:payloads AS bytea[]),
                         CAST(:moments AS timestamptz[]), CAST(:traceparents AS text[]),
                         CAST(:tracestates AS text[]))
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
    event_id, at_ns, name = uuid7(), time.time_ns(), event.DESCRIPTOR.full_name
    created = message_spans.create(topic, event_id, subject, name, at_ns)
    # The row and the span begin at one moment: from there both count how long the event waits in the outbox.
    moment = datetime.fromtimestamp(at_ns / 1e9, UTC)
    row = (event_id, topic, subject, sequence, name, event.SerializeToString(), moment, *telemetry.store(created))
    transaction.collect(_insert, (created, row))
    transaction.notify(CHANNEL)
    return event_id


async def republish(transaction: Transaction, *, subject: str, sequence: int) -> None:
    """Tell the world again, under the event's original id: who lost it hears it, who has it ignores it.

    An event past its retention is gone; a saga that still waits for it has been parked for days.
    """
    await transaction.run(_REPUBLISH, subject=subject, sequence=sequence)
    transaction.notify(CHANNEL)


async def _insert(transaction: Transaction, promised: list[tuple[Span, tuple[Any, ...]]]) -> None:
    """Write the rows, all in one statement, which needs no span: it is the end of each event's `create`."""
    names = ("ids", "topics", "subjects", "sequences", "types", "payloads", "moments", "traceparents", "tracestates")
    columns = zip(*(row for _, row in promised), strict=True)
    with telemetry.unrecorded():
        await transaction.run(_INSERT, **{name: list(column) for name, column in zip(names, columns, strict=True)})
    for created, _ in promised:
        created.end()
