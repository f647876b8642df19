"""The card worker: the only one who calls the card network, for open intents and open refund wishes.

    claim (a lease with an end) ─▶ first attempt: charge                  ─┐
                                   later: ask, and charge what is unknown ─┼─▶ judge ─▶ record in one transaction
                                   refund: ask what is open, then void    ─┘

A worker may die anywhere, or be overtaken by another when its lease has run out: the network knows each payment by its
id and takes or gives back once, and `settlement` hears each answer once.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from chassis import logs, telemetry
from chassis.database import Database, Row, Sql
from chassis.source import code
from chassis.telemetry import TraceContext
from chassis.work_queue import WorkQueue
from services.payment import settlement, verdict
from services.payment.card_network import CardNetwork
from services.payment.places import FIRST_ATTEMPTS, Place, Places
from services.payment.verdict import Answer, NoAnswer, Question, Reply, Unclear, Verdict

log = logs.get(__name__)

BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX = 0.1, 5.0
# From here on the pause is the longest; the power of a count that never ends would be too large for a float.
BACKOFF_DOUBLINGS_MAX = 6
# An attempt makes two calls at most; the rest is for recording what they said.
CALLS_MAX, RECORDING_SECONDS = 2, 2.0

# MATERIALIZED: in IN (…) the subquery might run for every row, and skip other locked rows each time.
# Of the first attempts (places.FIRST_ATTEMPTS, as the indexes have it) the very first, and of those the newest: however
# many silent cards come at once, they are not before what comes later. The time is the statement's: an index takes it.
_CLAIM = Sql(
    "UPDATE payments",
    """
    WITH fresh AS MATERIALIZED (
        SELECT payment_id FROM payments WHERE next_attempt_at <= statement_timestamp() AND attempts < 2
        ORDER BY attempts, next_attempt_at DESC LIMIT :fresh FOR NO KEY UPDATE SKIP LOCKED
    ), repeated AS MATERIALIZED (
        SELECT payment_id FROM payments WHERE next_attempt_at <= statement_timestamp() AND attempts >= 2
        ORDER BY next_attempt_at LIMIT :repeated FOR NO KEY UPDATE SKIP LOCKED
    ), due AS (
        SELECT payment_id FROM fresh UNION ALL SELECT payment_id FROM repeated
    )
    UPDATE payments p SET attempts = p.attempts + 1,
           next_attempt_at = clock_timestamp() + make_interval(secs => :lease_seconds)
    FROM due WHERE p.payment_id = due.payment_id
    RETURNING p.*
    """,
)
# The end of a lease tells it from every later one, and from a refund that was wished for meanwhile.
_DEFER = Sql(
    "UPDATE payments",
    """
    UPDATE payments SET next_attempt_at = clock_timestamp() + make_interval(secs => :seconds),
           attempt_traceparent = :traceparent, attempt_tracestate = :tracestate,
           unclear = CASE WHEN :unclear = '' THEN unclear ELSE :unclear END
    WHERE payment_id = :payment_id AND next_attempt_at = :lease_until
    """,
)

_ATTEMPTS = telemetry.meter.create_counter(
    "shop.card_worker.attempts", description="Attempts to charge or to refund, by what came of them."
)


class CardWorker:
    """Works one service's open payments. Replicas share them row by row.

    Args:
        timeout_seconds: how long the network's client waits for one answer.
        concurrency_max: how many payments are worked side by side, two at least; each has one call open at most.
    """

    def __init__(
        self,
        database: Database,
        network: CardNetwork,
        *,
        stopping: asyncio.Event,
        timeout_seconds: float,
        concurrency_max: int = 64,
    ) -> None:
        self._database, self._network = database, network
        self._lease_seconds = CALLS_MAX * timeout_seconds + RECORDING_SECONDS
        # The places bound what is claimed; one that is left is free a moment before the queue counts its row as done.
        self._queue = WorkQueue(
            "card worker", self._claim, self._work, stopping=stopping, concurrency_max=2 * concurrency_max
        )
        self._places = Places(concurrency_max, self._freed)
        self._taken: dict[tuple[UUID, datetime], Place] = {}
        # Whether the last claim was handed as many rows as it had places for, so that more may be due.
        self._full = False
        self.run = self._queue.run
        database.on_commit(settlement.CHANNEL, self._queue.wake)

    def _freed(self) -> None:
        if self._full:
            self._queue.wake()

    async def _claim(self, _room: int, _settled: Sequence[None] = ()) -> Sequence[Row]:
        # Before the statement, for a place that is left meanwhile.
        self._full = True
        rows: Sequence[Row] = ()
        with self._places.reserved() as (fresh_max, repeated_max):
            if fresh_max or repeated_max:
                rows = await self.claim(fresh_max, repeated_max)
        for row in rows:
            self._taken[row.payment_id, row.next_attempt_at] = self._places.take(row.attempts)
        repeated = sum(row.attempts > FIRST_ATTEMPTS for row in rows)
        self._full = repeated == repeated_max or len(rows) - repeated == fresh_max
        return rows

    async def _work(self, row: Row) -> None:
        place = self._taken.pop((row.payment_id, row.next_attempt_at))
        try:
            await self.work(row, place)
        finally:
            place.leave()

    async def claim(self, fresh_max: int, repeated_max: int) -> Sequence[Row]:
        """Lease at most so many payments that are due for a first attempt, and so many for a later one."""
        async with self._database.single() as once:
            with telemetry.unrecorded():
                return await once.all(_CLAIM, fresh=fresh_max, repeated=repeated_max, lease_seconds=self._lease_seconds)

    async def work(self, row: Row, place: Place) -> None:
        """One attempt at a leased payment: settled, or due again later."""
        refund = row.refund_requested_at is not None
        telemetry.concerns(row.order_id)
        with telemetry.span(
            "void charge" if refund else "charge card",
            attributes={
                "shop.payment.id": str(row.payment_id),
                "shop.payment.attempt": row.attempts,
                **code(verdict.judge),
            },
            parent=telemetry.restore(TraceContext(row.traceparent, row.tracestate)),
            links=telemetry.link(TraceContext(row.attempt_traceparent, row.attempt_tracestate)),
        ) as span:
            reply, found = await self._attempt(row, place)
            outcome = _named(reply, found)
            if found.unclear:
                reason = found.unclear
                log.error("the card network's answer does not fit the payment", order_id=row.order_id, reason=reason)
            if found.again:
                error = reply if isinstance(reply, NoAnswer) else Unclear(found.unclear)
                telemetry.fail(span, error)
                await self._defer(row, str(error), found.unclear)
            span.set_attribute("shop.payment.outcome", outcome)
        _ATTEMPTS.add(1, {"work": "refund" if refund else "charge", "outcome": outcome})

    async def _attempt(self, row: Row, place: Place) -> tuple[Reply, Verdict]:
        """Ask until an answer leads to no further question: twice at most. Returns the last answer, and its verdict."""
        question: Question | None = verdict.opening(settlement.standing(row), row.attempts)
        while True:
            reply = await self._ask(question, row, place)
            if isinstance(reply, Answer):
                found, row = await self._database.unit_of_work(settlement.record, row, question, reply)
            else:
                found = verdict.judge(settlement.standing(row), question, reply)
            question = found.asks
            if question is None:
                return reply, found

    async def _ask(self, question: Question, row: Row, place: Place) -> Reply:
        try:
            async with place.call():
                match question:
                    case Question.CHARGE:
                        price = row.amount_minor, row.currency_code
                        return await self._network.charge(row.payment_id, *price, row.card_token)
                    case Question.FIND:
                        return await self._network.find(row.payment_id)
                    case Question.VOID:
                        return await self._network.void(row.payment_id)
        except NoAnswer as error:
            return error
        except TimeoutError:
            return NoAnswer("it takes long, and others need the place")

    async def _defer(self, row: Row, reason: str, unclear: str) -> None:
        seconds_max = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * 2 ** min(row.attempts, BACKOFF_DOUBLINGS_MAX))
        seconds = random.uniform(0, seconds_max)  # noqa: S311 - jitter
        log.warning("the card network did not answer; asking again", order_id=row.order_id, reason=reason)
        attempt = telemetry.store()
        async with self._database.single() as once:
            with telemetry.unrecorded():
                await once.run(
                    _DEFER,
                    payment_id=row.payment_id,
                    lease_until=row.next_attempt_at,
                    seconds=seconds,
                    unclear=unclear,
                    **attempt._asdict(),
                )
        self._queue.wake_in(seconds)


def _named(reply: Reply, found: Verdict) -> str:
    if found.unclear or isinstance(reply, Unclear):
        return "UNCLEAR"
    return str(reply.outcome) if isinstance(reply, Answer) else "NO_ANSWER"
