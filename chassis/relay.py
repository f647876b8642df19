"""Transactional outbox, the delivering half: sends each promised event until Kafka has it.

    take the lease, read each aggregate's lowest unpublished version ─▶ send all, await the acks ─▶ mark, free the lease

No transaction is open during a send. No cursor: a row stays eligible until it is marked, however late it committed.
A partition that does not answer rests (`resting`), and an aggregate whose event Kafka refuses: the others go on.
"""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from aiokafka.errors import KafkaError
from opentelemetry.context import Context
from uuid_utils.compat import uuid7

from chassis import kafka, logs, outbox, telemetry
from chassis.database import Database, Row, Sql, outages
from chassis.kafka import Producer
from chassis.sending import Outcome, Place, Sender
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
# Between two rounds while something rests, for each of them reads what rests again.
REST_PAUSE_SECONDS = 0.05

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
               o.*
        FROM outbox o, lease
        WHERE o.published_at IS NULL AND o.subject > :after
        ORDER BY o.subject, o.sequence
        LIMIT :batch_max
    )
    SELECT waiting.anything, lease.fence AS lease_fence, taken.*
    FROM waiting LEFT JOIN lease ON true LEFT JOIN taken ON true
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
        self._database, self._producer = database, producer
        self._sender = Sender(producer, source, Relay.round)
        # Behind which subject the next round looks: none, unless so much rests that it fills a round.
        self._after = ""
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
                    if self._sender.resting:
                        await kafka.wait(self._stopping, REST_PAUSE_SECONDS)
                    more = await self.round()
                    if more is None:
                        return BUSY_RETRY_SECONDS
                    if not more:
                        break
            except KafkaError as error:
                log.warning("events wait in the outbox: the broker does not answer", error=repr(error))
        return self._poll_interval_seconds

    async def round(self) -> bool | None:
        """One round. True: more waits. False: nothing waits that can be sent now. None: another relay holds the lease.

        Raises:
            KafkaError: the broker took nothing; it waits on.
        """
        await self._producer.ready()
        async with self._database.single() as once:
            ends_at = asyncio.get_running_loop().time() + SEND_SECONDS_MAX
            with telemetry.unrecorded():
                rows = await once.all(
                    _TAKE, holder=self._holder, lease_seconds=LEASE_SECONDS, batch_max=BATCH_MAX, after=self._after
                )
        if rows[0].lease_fence is None:
            return None if rows[0].anything else False
        fence, rows = rows[0].lease_fence, [row for row in rows if row.id is not None]
        chosen = await self._sender.choose(rows)
        links = [link for row, _ in chosen for link in telemetry.link(TraceContext(row.traceparent, row.tracestate))]
        with (
            telemetry.span(
                "relay outbox",
                attributes={"messaging.batch.message_count": len(chosen), **code(Relay.round)},
                parent=Context(),
                links=links,
            )
            if chosen
            else telemetry.unrecorded()
        ):
            outcome = await self._send(chosen, ends_at)
            more = await self._mark(outcome.sent, fence)
        if outcome.unanswered:
            self._producer.give_up()
        if outcome.is_outage:
            raise KafkaError(f"{outcome.unanswered} of {len(chosen)} events were not acknowledged")
        return self._turn_page(rows, outcome) if self._sender.resting else more

    async def _send(self, chosen: Sequence[tuple[Row, Place]], ends_at: float) -> Outcome:
        return await self._sender.send(chosen, ends_at)

    async def _mark(self, sent: Sequence[UUID], fence: int) -> bool:
        """Mark what Kafka has and free the lease; whether more waits."""
        async with self._database.single() as once:
            with telemetry.unrecorded():
                marked = await once.first(_MARK, ids=sent, holder=self._holder, fence=fence)
        return marked is not None and marked.more

    def _turn_page(self, rows: Sequence[Row], outcome: Outcome) -> bool:
        """While something rests, look behind it: it may be more than a round takes. Whether to go on at once."""
        is_full = len(rows) == BATCH_MAX
        self._after = rows[-1].subject if is_full else ""
        return is_full or bool(outcome.sent)
