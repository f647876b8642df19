"""Command outbox, the delivering half: calls the service that owns the answer until it has accepted.

    OK ─▶ delete the row    no answer ─▶ again, later (full jitter)    a no for ever ─▶ CommandRefused for the saga

The dispatcher is the only retry on this path: its channels have no retry policy.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import grpc
import grpc.aio
from opentelemetry.trace import Span, SpanKind

from chassis import commands, grpc_client, logs, telemetry
from chassis.database import Database, Row, Sql, Transaction
from chassis.source import code
from chassis.telemetry import TraceContext
from chassis.work_queue import WorkQueue

log = logs.get(__name__)

RPC_DEADLINE_SECONDS = 3.0
CLAIM_MARGIN_SECONDS = 2.0
BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX = 0.1, 5.0

# The receiver understood and will never accept; every other status may be different next time.
_REFUSED_FOR_EVER = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAUTHENTICATED,
}

# A claim lasts past the RPC's deadline, so no two dispatchers deliver the same row at the same time. MATERIALIZED,
# because a subquery that skips locked rows finds others each time it runs, and in IN (…) it may run for every row.
# Due by the statement's time: clock_timestamp() is no condition for an index, each row that waits would be asked.
_CLAIM = Sql(
    "UPDATE command_outbox",
    """
    WITH delivered AS (
        DELETE FROM command_outbox WHERE id = ANY(CAST(:delivered AS uuid[]))
    ), due AS MATERIALIZED (
        SELECT id FROM command_outbox
        WHERE next_attempt_at <= statement_timestamp() AND id <> ALL(CAST(:delivered AS uuid[]))
        ORDER BY next_attempt_at LIMIT :room FOR UPDATE SKIP LOCKED
    )
    UPDATE command_outbox o SET attempts = o.attempts + 1,
           next_attempt_at = clock_timestamp() + make_interval(secs => :claim_seconds)
    FROM due WHERE o.id = due.id
    RETURNING o.*, extract(epoch FROM clock_timestamp() - o.created_at) AS age_seconds
    """,
)
_DEFER = Sql(
    "UPDATE command_outbox",
    """
    UPDATE command_outbox SET next_attempt_at = clock_timestamp() + make_interval(secs => :seconds)
    WHERE id = :id AND attempts = :attempts
    """,
)
_DELETE = Sql("DELETE command_outbox", "DELETE FROM command_outbox WHERE id = :id")

_DELIVERED = telemetry.meter.create_counter("shop.commands", description="Deliveries of commands, by outcome.")


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """A command can never be accepted; the saga hears it as it hears an event."""

    saga_id: str
    step: str
    reason: str


Refused = Callable[[Transaction, CommandRefused], Awaitable[None]]


class Dispatcher:
    """Delivers one service's command outbox. Replicas share the work row by row.

    Args:
        channels: by the service's full name, such as `shop.payment.v1.PaymentService`.
        refused: called in the transaction that deletes a command refused for ever.
        decided_by: the function that decides which commands are sent; the span of each call leads to it.
    """

    def __init__(
        self,
        database: Database,
        channels: Mapping[str, grpc.aio.Channel],
        refused: Refused,
        *,
        decided_by: Callable[..., Any],
        stopping: asyncio.Event,
        concurrency_max: int = 32,
        poll_interval_seconds: float = 2.0,
    ) -> None:
        self._database, self._channels, self._refused = database, channels, refused
        self._source = code(decided_by)
        self._calls: dict[str, Callable[..., Awaitable[bytes]]] = {}
        self._queue = WorkQueue(
            "dispatcher",
            self._claim,
            self._deliver,
            stopping=stopping,
            concurrency_max=concurrency_max,
            poll_interval_seconds=poll_interval_seconds,
        )
        self.run = self._queue.run
        database.on_commit(commands.CHANNEL, self._queue.wake)

    async def _claim(self, room: int, delivered: Sequence[UUID]) -> Sequence[Row]:
        async with self._database.single() as once:
            with telemetry.unrecorded():
                return await once.all(
                    _CLAIM,
                    delivered=list(delivered),
                    claim_seconds=RPC_DEADLINE_SECONDS + CLAIM_MARGIN_SECONDS,
                    room=room,
                )

    def _call(self, method: str) -> Callable[..., Awaitable[bytes]]:
        if method not in self._calls:
            channel = self._channels[method.split("/")[1]]
            # The payload is the serialised command already; the answer is not read: the saga moves on events alone.
            self._calls[method] = channel.unary_unary(method)
        return self._calls[method]

    async def _deliver(self, row: Row) -> UUID | None:
        """Call once; returns the id if the command was accepted."""
        telemetry.concerns(row.saga_id)
        span = self._span(row)
        with telemetry.inside(span):
            try:
                await self._call(row.method)(
                    row.payload, timeout=RPC_DEADLINE_SECONDS, metadata=grpc_client.metadata(span)
                )
            except grpc.aio.AioRpcError as error:
                status = error.code()
                if status in _REFUSED_FOR_EVER:
                    # A refusal is an answer, so the call did not fail; the saga hears it.
                    span.set_attribute("rpc.status_code", status.name)
                    span.end()
                    await self._refuse(row, f"{status.name}: {error.details()}")
                else:
                    grpc_client.end(span, status, error.details())
                    await self._defer(row, status.name)
            else:
                status = grpc.StatusCode.OK
                grpc_client.end(span, status)
        _DELIVERED.add(1, {"step": row.step, "outcome": status.name})
        return row.id if status is grpc.StatusCode.OK else None

    def _span(self, row: Row) -> Span:
        """The call's own CLIENT span, named by what the saga wants: the method follows below it, on the server's."""
        return telemetry.start_span(
            f"saga {row.step}",
            SpanKind.CLIENT,
            {
                "rpc.system.name": "grpc",
                "rpc.method": row.method[1:],
                "shop.saga.step": row.step,
                "shop.saga.direction": row.direction,
                "shop.saga.attempt": row.attempt,
                "shop.command.try": row.attempts,
                "shop.command.age_ms": round(float(row.age_seconds) * 1000, 1),
                **self._source,
            },
            telemetry.restore(TraceContext(row.traceparent, row.tracestate)),
        )

    async def _defer(self, row: Row, reason: str) -> None:
        seconds = random.uniform(0, min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * 2**row.attempts))  # noqa: S311 - jitter
        log.warning("command not delivered; trying again", step=row.step, order_id=row.saga_id, reason=reason)
        async with self._database.single() as once:
            with telemetry.unrecorded():
                await once.run(_DEFER, id=row.id, seconds=seconds, attempts=row.attempts)
        self._queue.wake_in(seconds)

    async def _refuse(self, row: Row, reason: str) -> None:
        log.warning("command refused for ever", step=row.step, order_id=row.saga_id, reason=reason)

        async def command_refused(transaction: Transaction) -> None:
            await self._refused(transaction, CommandRefused(row.saga_id, row.step, reason))
            await transaction.run(_DELETE, id=row.id)

        await self._database.unit_of_work(command_refused)
