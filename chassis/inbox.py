"""Idempotent consumer: the first statement of a handler's transaction notes the message, or finds it noted before."""

from collections.abc import Sequence
from uuid import UUID

from chassis.database import Sql, Transaction

_NOTE = Sql(
    "INSERT inbox",
    """
    INSERT INTO inbox (consumer_group, message_id)
    SELECT :consumer_group, message_id FROM unnest(CAST(:message_ids AS uuid[])) AS message_id ORDER BY message_id
    ON CONFLICT DO NOTHING
    RETURNING message_id
    """,
)


async def note(transaction: Transaction, consumer_group: str, message_ids: Sequence[UUID]) -> set[UUID]:
    """Note the messages as applied by this transaction; returns those that were not noted before.

    A concurrent transaction that notes the same message makes this one wait for its end, so exactly one applies it.
    """
    rows = await transaction.all(_NOTE, consumer_group=consumer_group, message_ids=list(message_ids))
    return {UUID(str(row.message_id)) for row in rows}
