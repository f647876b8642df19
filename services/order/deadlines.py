"""The saga's timer: deadlines are rows, so a waiting saga holds no task, and a restart forgets none.

a deadline passes ─▶ claimed, by putting it off ─▶ judged again under the saga's lock ─▶ the saga hears of it
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import wraps

from chassis import telemetry
from chassis.database import Database, Row, Sql, Transaction, outages
from chassis.source import code
from chassis.telemetry import TraceContext
from chassis.work_queue import WorkQueue
from services.order import handlers, saga
from services.order.settings import OrderSettings

# Fewer than the pool has connections: many deadlines at once must not keep the customers waiting.
CONCURRENCY_MAX = 4
# Far more than an attempt takes. So long also rests a saga that could not be handled: nothing tells when it will be.
CLAIM_SECONDS = 10.0

# MATERIALIZED: in IN (…) the subquery might run for every row, and skip other locked rows each time. Due by the
# statement's time: clock_timestamp() is no condition for an index, each saga that waits would be asked.
_CLAIM = Sql(
    "UPDATE sagas",
    """
    WITH due AS MATERIALIZED (
        SELECT order_id FROM sagas WHERE deadline_at <= statement_timestamp()
        ORDER BY deadline_at LIMIT :room FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE sagas s SET deadline_at = clock_timestamp() + make_interval(secs => :claim_seconds)
    FROM due WHERE s.order_id = due.order_id
    RETURNING s.order_id, s.deadline_at, s.traceparent, s.tracestate
    """,
)

_FAILED = telemetry.meter.create_counter(
    "shop.saga.deadlines_failed", description="Deadlines that a saga could not hear of; each is tried again later."
)


class Deadlines:
    """Lets sagas hear that their deadline has passed. Replicas share them row by row."""

    def __init__(self, database: Database, settings: OrderSettings, stopping: asyncio.Event) -> None:
        self._database, self._settings = database, settings
        queue = WorkQueue(
            "deadlines",
            self.claim,
            self.pass_due,
            stopping=stopping,
            concurrency_max=CONCURRENCY_MAX,
            poll_interval_seconds=settings.deadline_poll_seconds,
        )
        self.run = queue.run

    async def claim(self, room: int, _settled: Sequence[None] = ()) -> Sequence[Row]:
        """Take at most so many sagas whose deadline has passed; until the claim ends nobody else takes them."""
        async with self._database.single() as once:
            with telemetry.unrecorded():
                return await once.all(_CLAIM, room=room, claim_seconds=CLAIM_SECONDS)

    async def pass_due(self, row: Row) -> None:
        """Let a claimed saga hear that its deadline has passed; if it cannot, it is claimed again when the claim ends.

        All of it is one span below the order's. Of a deadline that is not the saga's any more, and of one that waits
        for the database, nothing is told: their spans are never ended.

        Raises:
            Exception: the saga cannot be handled, and waiting will not help; it is counted, and noted which one it is.
        """
        telemetry.concerns(row.order_id)
        parent = telemetry.restore(TraceContext(row.traceparent, row.tracestate))
        span = telemetry.start_span("saga deadline", attributes=code(saga.react), parent=parent)

        @wraps(handlers.pass_deadline)
        async def pass_deadline(transaction: Transaction) -> None:
            transaction.keep_open(span.end)
            await handlers.pass_deadline(transaction, row.order_id, row.deadline_at, self._settings)

        try:
            with (
                telemetry.inside(span),
                suppress(handlers.Superseded),
                outages("a deadline waits", order_id=row.order_id),
            ):
                await self._database.unit_of_work(pass_deadline)
        except Exception as error:
            telemetry.fail(span, error)
            span.end()
            # The queue logs whatever it is and goes on, but does not know which order it was about.
            error.add_note(f"order {row.order_id}")
            _FAILED.add(1, {"error": type(error).__name__})
            raise
