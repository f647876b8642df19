"""Transactional outbox, the delivering half: sends each promised event until Kafka has it.

    take the lease, read each aggregate's lowest unpublished version ─▶ send all, await the acks ─▶ mark, free the lease

No transaction is open during a send. No cursor: a row stays eligible until it is marked, however late it committed.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiokafka.errors import KafkaError
from opentelemetry.context import Context
from opentelemetry.trace import Span
from uuid_utils.compat import uuid7

from chassis import kafka, logs, message_spans, messages, outbox, telemetry
from chassis.database import Database, Row, Sql, outages
from chassis.kafka import Producer
from chassis.messages import Envelope
from chassis.source import code
from chassis.telemetry import TraceContext

log = logs.get(__name__)

# Another relay's round lasts a few milliseconds; whoever has rows to send looks again this soon.
BUSY_RETRY_SECONDS = 0.02
# A relay that is killed is followed by another once its lease has run out: soon, and never while it still sends. It
# begins to count before the database does, and takes nothing up for sending later than SEND_SECONDS_MAX. What it cannot
# recall (a message on its way, a process that was stopped and goes on) comes late as a repeat of what its heir has sent
# too, under the same id, so the inbox knows it; and the fence keeps it from freeing its heir's lease.
LEASE_SECONDS = 3.5
SEND_SECONDS_MAX = 2.5
BATCH_MAX = 500

# The lease row is locked by whoever takes it, for the length of this one statement; SKIP LOCKED lets the others pass.
# A lock shows the row as it is now, the rest of the statement sees what was committed when it began: fences that differ
# mean that a round of another relay lay between, and that its events would be sent again. Where nothing is taken a
# single row says whether anything waits; where nothing does, nothing is locked.
_TAKE = Sql(
    "SELECT outbox",
    """
    WITH free AS (
        SELECT name, fence FROM relay_lease WHERE name = 'outbox' AND (until <= clock_timestamp() OR holder = :holder)
        FOR UPDATE SKIP LOCKED
    ), waiting AS (
        SELECT EXISTS (SELECT FROM outbox WHERE published_at IS NULL) AS anything
    ), lease AS (
        UPDATE relay_lease SET holder = :holder, fence = free.fence + 1,
               until = clock_timestamp() + make_interval(secs => :lease_seconds)
        FROM free WHERE relay_lease.name = free.name AND relay_lease.fence = free.fence
          AND (SELECT anything FROM waiting)
        RETURNING relay_lease.fence
    ), taken AS (
        SELECT DISTINCT ON (o.subject)
               lease.fence, o.*
        FROM outbox o, lease
        WHERE o.published_at IS NULL
        ORDER BY o.subject, o.sequence
        LIMIT :batch_max
    )
    SELECT waiting.anything, taken.* FROM waiting LEFT JOIN taken ON true
    """,
)
# What was acknowledged is marked whoever holds the lease by now; the lease is freed only by its holder.
_MARK = Sql(
    "UPDATE outbox",
    """
    WITH marked AS (
        UPDATE outbox SET published_at = clock_timestamp() WHERE id = ANY(CAST(:ids AS uuid[])) RETURNING 1
    ), freed AS (
        UPDATE relay_lease SET until = clock_timestamp()
        WHERE name = 'outbox' AND holder = :holder AND fence = :fence RETURNING 1
    )
    SELECT EXISTS (SELECT FROM outbox WHERE published_at IS NULL AND id <> ALL(CAST(:ids AS uuid[]))) AS more
    """,
)
_AGE = telemetry.meter.create_histogram(
    "shop.outbox.age", unit="s", description="How long events waited in the outbox before Kafka had them."
)
_PUBLISHED = telemetry.meter.create_counter("shop.outbox.published", description="Events that Kafka acknowledged.")


@dataclass(frozen=True, slots=True)
class Sending:
    """One event of a round, between send and acknowledgement."""

    envelope: Envelope
    span: Span
    timestamp_ms: int
    acknowledged: asyncio.Future[Any]


class Relay:
    """Sends one service's outbox. Every replica runs one; the lease lets one of them send at a time."""

    def __init__(
        self,
        database: Database,
        producer: Producer,
        *,
        source: str,
        stopping: asyncio.Event,
        poll_interval_seconds: float = 1.0,
    ) -> None:
        self._database, self._producer, self._source = database, producer, source
        self._stopping, self._poll_interval_seconds = stopping, poll_interval_seconds
        self._holder = uuid7()
        self._wake = asyncio.Event()
        database.on_commit(outbox.CHANNEL, lambda _key: self._wake.set())

    async def run(self) -> None:
        """Deliver until the process is to stop."""
        stop = asyncio.create_task(self._stopping.wait())
        stop.add_done_callback(lambda _task: self._wake.set())
        try:
            if not await kafka.start(self._producer.start, "relay", self._stopping):
                return
            while not self._stopping.is_set():
                pause = await self._drain()
                await kafka.wait(self._wake, pause)
                self._wake.clear()
        finally:
            stop.cancel()
            await self._producer.stop()

    async def _drain(self) -> float:
        """Run rounds while there is something to send; returns how long to wait, at most, for more."""
        with outages("events wait in the outbox"):
            try:
                while not self._stopping.is_set():
                    more = await self.round()
                    if more is None:
                        return BUSY_RETRY_SECONDS
                    if not more:
                        break
            except KafkaError as error:
                log.warning("events wait in the outbox: the broker does not answer", error=repr(error))
        return self._poll_interval_seconds

    async def round(self) -> bool | None:
        """One round. True: more waits. False: nothing waits. None: another relay holds the lease.

        Raises:
            KafkaError: the broker did not take everything; what it did not take waits on.
        """
        await self._producer.ready()
        async with self._database.single() as once:
            ends_at = asyncio.get_running_loop().time() + SEND_SECONDS_MAX
            with telemetry.unrecorded():
                rows = await once.all(_TAKE, holder=self._holder, lease_seconds=LEASE_SECONDS, batch_max=BATCH_MAX)
        if rows[0].fence is None:
            return None if rows[0].anything else False
        links = [link for row in rows for link in telemetry.link(TraceContext(row.traceparent, row.tracestate))]
        with telemetry.span(
            "relay outbox",
            attributes={"messaging.batch.message_count": len(rows), **code(Relay.round)},
            parent=Context(),
            links=links,
        ):
            sent = await self._send(rows, ends_at)
            async with self._database.single() as once:
                with telemetry.unrecorded():
                    marked = await once.first(_MARK, ids=sent, holder=self._holder, fence=rows[0].fence)
        if len(sent) < len(rows):
            self._producer.give_up()
            raise KafkaError(f"{len(rows) - len(sent)} of {len(rows)} events were not acknowledged")
        return marked is not None and marked.more

    async def _send(self, rows: Any, ends_at: float) -> list[UUID]:
        """Send the rows side by side; returns the ids that Kafka acknowledged in time.

        No answer means unknown, not failed: the row stays unmarked and is sent again under the same id.
        """
        sendings = [await self._begin(row, ends_at) for row in rows]
        await asyncio.wait(
            [sending.acknowledged for sending in sendings],
            timeout=max(0.0, ends_at - asyncio.get_running_loop().time()),
        )
        sent: list[UUID] = []
        for sending in sendings:
            acknowledged = sending.acknowledged
            if not acknowledged.done():
                telemetry.fail(sending.span, TimeoutError("no acknowledgement in time"))
            elif error := acknowledged.exception():
                telemetry.fail(sending.span, error)
            else:
                _AGE.record(
                    message_spans.sent(sending.span, sending.envelope, acknowledged.result(), sending.timestamp_ms)
                )
                sent.append(sending.envelope.id)
            sending.span.end()
        _PUBLISHED.add(len(sent))
        return sent

    async def _begin(self, row: Row, ends_at: float) -> Sending:
        created = TraceContext(row.traceparent, row.tracestate)
        envelope = Envelope(
            row.id, row.type, self._source, row.subject, row.created_at, row.sequence, created, row.payload
        )
        span, timestamp_ms = message_spans.send(row.topic, envelope, Relay.round), time.time_ns() // 1_000_000
        try:
            async with asyncio.timeout_at(ends_at):
                # A time that is over already is noticed here, before the message is taken.
                await asyncio.sleep(0)
                acknowledged = asyncio.ensure_future(
                    await self._producer.send(
                        row.topic, row.payload, envelope.key, messages.headers(envelope), timestamp_ms
                    )
                )
        except (KafkaError, TimeoutError) as error:
            acknowledged = asyncio.get_running_loop().create_future()
            acknowledged.set_exception(error)
        # An answer that comes after the round has ended is nobody's any more; asyncio would complain about its error.
        acknowledged.add_done_callback(_look_at)
        return Sending(envelope, span, timestamp_ms, acknowledged)


def _look_at(ended: asyncio.Future[Any]) -> None:
    if not ended.cancelled():
        ended.exception()
