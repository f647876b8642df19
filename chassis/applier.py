"""Applies what a member has taken: a batch in one transaction, and what cannot be applied so each alone.

a batch ─▶ one transaction ─┬─▶ applied
                            └─▶ one fails: roll back ─▶ each of its keys waits, and is tried alone (`waiting_keys`)
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import TopicPartition

from chassis import logs, retries
from chassis.burials import Burials
from chassis.database import Database, outages
from chassis.deliveries import Deliveries, Delivery
from chassis.fetching import Taken, Unreadable
from chassis.messages import Poison
from chassis.progress import Progress
from chassis.retries import Cause
from chassis.router import Subscription
from chassis.waiting_keys import WaitingKey, WaitingKeys

log = logs.get(__name__)

OUTAGE_PAUSE_SECONDS = 0.1
# In an outage each attempt holds its place among those side by side for so long: thousands of keys must not hammer.
OUTAGE_HOLD_SECONDS = 0.2


class Applier:
    """One member's work: in order within each key, and no key held up by another.

    Args:
        hold_on: waits so many seconds as a member of the group; it raises when the process stops or partitions move.
        attempts_max: how often a message is tried that fails by its own fault, before it is a dead letter.
    """

    def __init__(
        self,
        database: Database,
        subscription: Subscription,
        burials: Burials,
        progress: Progress,
        *,
        hold_on: Callable[[float], Awaitable[None]],
        attempts_max: int,
        trace_async: str,
    ) -> None:
        self._database, self._group = database, subscription.group
        self._deliveries = Deliveries(database, subscription, trace_async)
        self._burials, self._progress = burials, progress
        self._hold_on, self._attempts_max = hold_on, attempts_max
        self.waiting = WaitingKeys[Delivery](self._alone, self._done)

    async def apply(self, batch: Sequence[Taken]) -> None:
        """Apply a batch; returns when each message is applied, known already, to be buried, or waits."""
        deliveries: list[Delivery] = []
        for record in batch:
            if isinstance(record, Unreadable):
                self._burials.begin(record, record.reason)
                continue
            try:
                delivery = self._deliveries.read(record)
            except Poison as poison:
                self._burials.begin(record, str(poison))
                continue
            if delivery and delivery.key in self.waiting:
                self._wait(delivery)
            elif delivery:
                deliveries.append(delivery)
        # Every transaction locks aggregates in the same order, so two batches cannot wait for each other in a circle.
        if deliveries and not await self._together(sorted(deliveries, key=lambda one: one.envelope.subject)):
            for delivery in deliveries:
                self._wait(delivery)
        for record in batch:
            self._progress.take(TopicPartition(record.topic, record.partition), record.offset)

    async def _together(self, deliveries: Sequence[Delivery]) -> bool:
        """Apply them in one transaction, again without end while the database is away; False if they must go alone."""
        pause = OUTAGE_PAUSE_SECONDS
        while (error := await self._deliveries.attempt(deliveries, retries.of_batch(len(self.waiting)))) is not None:
            cause = retries.cause(error)
            log.warning(cause.value, group=self._group, messages=len(deliveries), error=repr(error))
            # What only they meet twice, while the database answers others, is no outage.
            if cause is not Cause.OUTAGE or (pause > OUTAGE_PAUSE_SECONDS and await self._database_answers()):
                return False
            await self._hold_on(pause)
            pause = min(2 * pause, retries.RETRY_SECONDS_MAX)
        return True

    async def _database_answers(self) -> bool:
        with outages("messages wait", group=self._group) as outage:
            await self._database.ping()
        return not outage.happened

    def _wait(self, delivery: Delivery) -> None:
        self._progress.wait(delivery.partition, delivery.record.offset, delivery.size_bytes)
        self.waiting.wait(delivery.key, delivery)

    async def _alone(self, waiting: WaitingKey[Delivery]) -> float | None:
        """Apply the first message of a key, or bury it when it has failed so often; else how long to pause."""
        delivery = waiting.queue[0]
        limits = retries.alone(waiting, len(self.waiting))
        error = await self._deliveries.attempt([delivery], limits)
        if error is not None:
            cause = retries.cause(error, had_patience=not waiting.is_in_doubt)
            waiting.tries += 1
            waiting.failures += cause is Cause.FAILED
            waiting.is_in_doubt = retries.is_in_doubt(error)
            self._note(waiting, cause, error)
            if cause is Cause.OUTAGE:
                await asyncio.sleep(OUTAGE_HOLD_SECONDS)
            if waiting.failures < self._attempts_max:
                return retries.pause_seconds(waiting.tries)
            self._deliveries.fail(delivery, error)
            self._burials.begin(delivery.record, f"{type(error).__name__}: {error}")
        elif waiting.tries:
            log.info("a key goes on", **self._about(waiting), waited_seconds=round(time.monotonic() - waiting.since, 1))
        return None

    def _done(self, delivery: Delivery) -> None:
        self._progress.done(delivery.partition, delivery.record.offset, delivery.size_bytes)

    def _note(self, waiting: WaitingKey[Delivery], cause: Cause, error: Exception) -> None:
        """Say why a key waits: at each of its own failures, and else ever less often, for it may wait for days."""
        waiting.reason = repr(error)
        if cause is Cause.FAILED or waiting.tries.bit_count() == 1:
            log.warning(
                cause.value,
                **self._about(waiting),
                tries=waiting.tries,
                error=waiting.reason,
                exc_info=error if cause is Cause.FAILED else None,
            )

    def _about(self, waiting: WaitingKey[Delivery]) -> dict[str, object]:
        record, envelope = waiting.queue[0].record, waiting.queue[0].envelope
        return {
            "group": self._group,
            "order_id": envelope.subject,
            "key": waiting.key.decode(errors="replace"),
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "messages": len(waiting.queue),
        }
