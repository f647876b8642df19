"""Command outbox, the delivering half: calls the service that owns the answer until it has accepted.

    OK ─▶ delete the row    a no of ours ─▶ CommandRefused for the saga    anything else ─▶ again, later (full jitter)

The dispatcher is the only retry on this path: its channels have no retry policy. The trouble of one target delays no
command to another (targets.py).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import grpc
import grpc.aio
from opentelemetry.trace import Span, SpanKind

from chassis import backoff, commands, grpc_client, grpc_codes, logs, telemetry
from chassis.database import Database, Row, Sql, Transaction
from chassis.grpc_channel import RedialledChannel
from chassis.source import code
from chassis.targets import PROBE_SECONDS, Target, Targets
from chassis.telemetry import TraceContext
from chassis.work_queue import WorkQueue

log = logs.get(__name__)

RPC_DEADLINE_SECONDS = 3.0
CLAIM_MARGIN_SECONDS = 2.0
BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX = 0.1, 5.0

# A claim lasts past the RPC's deadline, so no two dispatchers deliver the same row at the same time. MATERIALIZED,
# because a subquery that skips locked rows finds others each time it runs; VALUES and an array of what is due, because
# the planner takes both for short. A probe of a target that is gone is no attempt: a command would otherwise go out the
# later the longer it has waited.
_CLAIM = """
    WITH delivered AS (
        DELETE FROM command_outbox WHERE id = ANY(CAST(:delivered AS uuid[]))
    ), due AS MATERIALIZED (
        SELECT waiting.id FROM (VALUES {targets}) AS target (name, room) CROSS JOIN LATERAL (
            SELECT id FROM command_outbox
            WHERE split_part(method, '/', 2) = target.name AND next_attempt_at <= statement_timestamp()
              AND id <> ALL(CAST(:delivered AS uuid[]))
            ORDER BY next_attempt_at LIMIT target.room FOR UPDATE SKIP LOCKED
        ) AS waiting
    )
    UPDATE command_outbox
    SET attempts = attempts + CASE WHEN split_part(method, '/', 2) = ANY(CAST(:gone AS text[])) THEN 0 ELSE 1 END,
        next_attempt_at = clock_timestamp() + make_interval(secs => :claim_seconds)
    WHERE id = ANY(ARRAY(SELECT id FROM due))
    RETURNING id, saga_id, step, direction, attempt, method, payload, traceparent, tracestate, attempts,
              next_attempt_at, extract(epoch FROM clock_timestamp() - created_at) AS age_seconds,
              split_part(method, '/', 2) = ANY(CAST(:gone AS text[])) AS is_probe
    """
# The end of a claim tells it from every later one, and from a command that was sent again meanwhile.
_DEFER = Sql(
    "UPDATE command_outbox",
    """
    UPDATE command_outbox SET next_attempt_at = clock_timestamp() + make_interval(secs => :seconds)
    WHERE id = :id AND next_attempt_at = :claimed_until
    """,
)
# Counted so far and no further: how many more there are changes nothing.
_WAITING = Sql(
    "SELECT command_outbox",
    """
    SELECT count(*) AS waiting FROM (
        SELECT FROM command_outbox WHERE split_part(method, '/', 2) = :target LIMIT 10000
    ) AS counted
    """,
)
_DELETE = Sql("DELETE command_outbox", "DELETE FROM command_outbox WHERE id = :id")

_DELIVERED = telemetry.meter.create_counter("shop.commands", description="Deliveries of commands, by outcome.")


def claim(targets: int) -> Sql:
    """The one statement that settles what is delivered, and claims what is due for each of so many targets."""
    values = (
        f"((CAST(:targets AS text[]))[{place}], (CAST(:rooms AS integer[]))[{place}])"
        for place in range(1, targets + 1)
    )
    return Sql("UPDATE command_outbox", _CLAIM.format(targets=", ".join(values)))


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
        concurrency_max: how many calls of each service may be open at once.
    """

    def __init__(
        self,
        database: Database,
        channels: Mapping[str, RedialledChannel],
        refused: Refused,
        *,
        decided_by: Callable[..., Any],
        stopping: asyncio.Event,
        concurrency_max: int = 32,
        poll_interval_seconds: float = 2.0,
    ) -> None:
        self._database, self._channels, self._refused = database, channels, refused
        self._source = code(decided_by)
        self._targets = Targets(channels, concurrency_max)
        self._claim_sql = claim(len(channels))
        self._calls: dict[str, Callable[..., Awaitable[bytes]]] = {}
        self._queue = WorkQueue(
            "dispatcher",
            self._claim,
            self._deliver,
            stopping=stopping,
            concurrency_max=concurrency_max * len(channels),
            poll_interval_seconds=poll_interval_seconds,
        )
        self.run = self._queue.run
        database.on_commit(commands.CHANNEL, self._queue.wake)

    async def _claim(self, room: int, delivered: Sequence[UUID]) -> Sequence[Row]:
        rooms = self._targets.rooms()
        if not any(rooms.values()) and not delivered:
            return ()
        async with self._database.single() as once:
            with telemetry.unrecorded():
                rows = await once.all(
                    self._claim_sql,
                    delivered=list(delivered),
                    claim_seconds=RPC_DEADLINE_SECONDS + CLAIM_MARGIN_SECONDS,
                    targets=[target.name for target in rooms],
                    # Without room in the queue, as at the end, nothing is claimed.
                    rooms=[target_room if room else 0 for target_room in rooms.values()],
                    gone=[target.name for target in rooms if target.is_gone],
                )
        claimed = Counter(self._targets.of(row.method) for row in rows)
        for target, target_room in rooms.items():
            if target_room:
                target.begin(claimed[target])
        return rows

    def _call(self, method: str) -> Callable[..., Awaitable[bytes]]:
        if method not in self._calls:
            channel = self._channels[method.split("/")[1]]
            # The payload is the serialised command already; the answer is not read: the saga moves on events alone.
            self._calls[method] = channel.unary_unary(method)
        return self._calls[method]

    async def _deliver(self, row: Row) -> UUID | None:
        """Call once; returns the id if the command was accepted."""
        telemetry.concerns(row.saga_id)
        target, began_at, span = self._targets.of(row.method), time.monotonic(), self._span(row)
        try:
            with telemetry.inside(span):
                try:
                    await self._call(row.method)(
                        row.payload, timeout=RPC_DEADLINE_SECONDS, metadata=grpc_client.metadata(span)
                    )
                except grpc.aio.AioRpcError as error:
                    status = error.code()
                    if grpc_codes.is_refusal(error):
                        target.accept()
                        # A refusal is an answer, so the call did not fail; the saga hears it.
                        span.set_attribute("rpc.status_code", status.name)
                        span.end()
                        await self._refuse(row, f"{status.name}: {error.details()}")
                    else:
                        grpc_client.end(span, status, error.details())
                        await self._not_delivered(row, target, error, began_at)
                else:
                    status = grpc.StatusCode.OK
                    target.accept()
                    grpc_client.end(span, status)
        finally:
            target.end()
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
                # A probe is no try, so it has no number.
                **({"shop.command.probe": True} if row.is_probe else {"shop.command.try": row.attempts}),
                "shop.command.age_ms": round(float(row.age_seconds) * 1000, 1),
                **self._source,
            },
            telemetry.restore(TraceContext(row.traceparent, row.tracestate)),
        )

    async def _not_delivered(self, row: Row, target: Target, error: grpc.aio.AioRpcError, began_at: float) -> None:
        """Let the command wait for its next try. Of a target that is gone one line tells, and not one for each try."""
        status, reason = error.code(), f"{error.code().name}: {(error.details() or '')[:200]}"
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            self._channels[target.name].distrust()
        has_gone = target.fail(row.id, status, began_at)
        if not target.is_to_blame(status, began_at):
            log.warning("command not delivered; trying again", step=row.step, order_id=row.saga_id, reason=reason)
        await self._defer(row, target)
        if has_gone:
            async with self._database.single() as once:
                with telemetry.unrecorded():
                    [counted] = await once.all(_WAITING, target=target.name)
            log.warning("not delivered: the target is gone", target=target.name, waiting=counted.waiting, reason=reason)

    async def _defer(self, row: Row, target: Target) -> None:
        if target.is_gone:
            # How often it is called is bounded for the target as a whole; when it is back, nothing is to wait.
            seconds = PROBE_SECONDS
        else:
            seconds = backoff.full_jitter(row.attempts, BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX)
        async with self._database.single() as once:
            with telemetry.unrecorded():
                await once.run(_DEFER, id=row.id, seconds=seconds, claimed_until=row.next_attempt_at)
        self._queue.wake_in(seconds)
        self._queue.wake_in(target.pause_seconds())

    async def _refuse(self, row: Row, reason: str) -> None:
        log.warning("command refused for ever", step=row.step, order_id=row.saga_id, reason=reason)

        async def command_refused(transaction: Transaction) -> None:
            await self._refused(transaction, CommandRefused(row.saga_id, row.step, reason))
            await transaction.run(_DELETE, id=row.id)

        await self._database.unit_of_work(command_refused)
        # It leaves room, and nothing to settle, for which the queue would look.
        self._queue.wake()
