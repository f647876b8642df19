"""The card worker: the only one who calls the card network, for open intents and open refund wishes.

    claim (a lease with an end) ─▶ first attempt: charge                  ─┐
                                   later: ask, and charge what is unknown ─┼─▶ judge ─▶ record in one transaction
                                   refund: ask what is open, then void    ─┘

A worker may die anywhere, or be overtaken by another when its lease has run out: the network knows each payment by its
id and takes or gives back once, and `settlement` hears each answer once.
"""

import asyncio
from collections.abc import Sequence

from chassis import backoff, logs, telemetry
from chassis.database import Database, Row, Sql
from chassis.source import code
from chassis.telemetry import TraceContext
from chassis.work_queue import WorkQueue
from services.payment import settlement, verdict
from services.payment.card_network import CardNetwork
from services.payment.verdict import Answer, NoAnswer, Question, Reply, Unclear, Verdict

log = logs.get(__name__)

BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX = 0.1, 5.0
# An attempt makes two calls at most; the rest is for recording what they said.
CALLS_MAX, RECORDING_SECONDS = 2, 2.0

# MATERIALIZED: in IN (…) the subquery might run for every row, and skip other locked rows each time. Due by the
# statement's time: clock_timestamp() is no condition for an index, each open payment would be asked.
_CLAIM = Sql(
    "UPDATE payments",
    """
    WITH due AS MATERIALIZED (
        SELECT payment_id FROM payments WHERE next_attempt_at <= statement_timestamp()
        ORDER BY next_attempt_at LIMIT :room FOR NO KEY UPDATE SKIP LOCKED
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
    """

    def __init__(
        self,
        database: Database,
        network: CardNetwork,
        *,
        stopping: asyncio.Event,
        timeout_seconds: float,
        concurrency_max: int = 32,
    ) -> None:
        self._database, self._network = database, network
        self._lease_seconds = CALLS_MAX * timeout_seconds + RECORDING_SECONDS
        self._queue = WorkQueue(
            "card worker", self.claim, self.work, stopping=stopping, concurrency_max=concurrency_max
        )
        self.run = self._queue.run
        database.on_commit(settlement.CHANNEL, self._queue.wake)

    async def claim(self, room: int, _settled: Sequence[None] = ()) -> Sequence[Row]:
        """Lease at most so many payments that are due."""
        async with self._database.single() as once:
            with telemetry.unrecorded():
                return await once.all(_CLAIM, room=room, lease_seconds=self._lease_seconds)

    async def work(self, row: Row) -> None:
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
            reply, found = await self._attempt(row)
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

    async def _attempt(self, row: Row) -> tuple[Reply, Verdict]:
        """Ask until an answer leads to no further question: twice at most. Returns the last answer, and its verdict."""
        question: Question | None = verdict.opening(settlement.standing(row), row.attempts)
        while True:
            reply = await self._ask(question, row)
            if isinstance(reply, Answer):
                found, row = await self._database.unit_of_work(settlement.record, row, question, reply)
            else:
                found = verdict.judge(settlement.standing(row), question, reply)
            question = found.asks
            if question is None:
                return reply, found

    async def _ask(self, question: Question, row: Row) -> Reply:
        try:
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

    async def _defer(self, row: Row, reason: str, unclear: str) -> None:
        seconds = backoff.full_jitter(row.attempts, BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX)
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
