"""Command outbox, the writing half: a command to another service is a row in the transaction that decided on it.

The delivering half is dispatcher.py. Nothing here commits.
"""

from typing import Any, Literal
from uuid import UUID, uuid5

from google.protobuf.message import Message

from chassis.database import Sql, Transaction
from chassis.telemetry import TraceContext

CHANNEL = "command_outbox"
Direction = Literal["forward", "compensate"]

# The namespace of command ids (RFC 9562, version 5); any fixed UUID will do.
_NAMESPACE = UUID("4b2d7a86-6f0e-5d7e-9a3c-2f1f6c1f9b11")

# A command that is sent again while it still waits comes forward, under the same id.
_INSERT = Sql(
    "INSERT command_outbox",
    """
    INSERT INTO command_outbox (id, saga_id, step, direction, attempt, method, payload, traceparent, tracestate)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:saga_ids AS text[]), CAST(:steps AS text[]),
                         CAST(:directions AS text[]), CAST(:attempts AS integer[]), CAST(:methods AS text[]),
                         CAST(:payloads AS bytea[]), CAST(:traceparents AS text[]), CAST(:tracestates AS text[]))
    ON CONFLICT (id) DO UPDATE SET next_attempt_at = clock_timestamp(), attempt = excluded.attempt
    """,
)
_WITHDRAW = Sql(
    "DELETE command_outbox",
    "DELETE FROM command_outbox WHERE saga_id = :saga_id AND direction = 'forward' RETURNING step",
)


def send(
    transaction: Transaction,
    method: str,
    command: Message,
    *,
    saga_id: str,
    step: str,
    trace: TraceContext,
    direction: Direction = "forward",
    attempt: int = 1,
) -> UUID:
    """Promise to deliver `command`, if the transaction commits.

    Args:
        method: the RPC, as `/package.Service/Method`.
        step: the saga's step that awaits the outcome; with `saga_id` it makes the command's id.
        trace: the parent of the calls.
        attempt: how often the saga has sent the command, this time included.
    """
    command_id = uuid5(_NAMESPACE, f"{saga_id}/{step}")
    row = (command_id, saga_id, step, direction, attempt, method, command.SerializeToString(), *trace)
    transaction.collect(_insert, row)
    transaction.notify(CHANNEL)
    return command_id


async def withdraw(transaction: Transaction, saga_id: str) -> list[str]:
    """Delete the forward commands of a saga that were not accepted yet; one that is under way may still arrive.

    Returns:
        Their steps.
    """
    return [row.step for row in await transaction.all(_WITHDRAW, saga_id=saga_id)]


async def _insert(transaction: Transaction, rows: list[Any]) -> None:
    names = ("ids", "saga_ids", "steps", "directions", "attempts", "methods", "payloads", "traceparents", "tracestates")
    columns = zip(*rows, strict=True)
    await transaction.run(_INSERT, **{name: list(column) for name, column in zip(names, columns, strict=True)})
