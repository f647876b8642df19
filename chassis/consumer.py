"""Applies events exactly once in effect: inbox row and handler share a transaction, the offset follows the commit.

what waits ─▶ one transaction for all of it ─▶ commit ─▶ offsets
                 └ one fails ─▶ roll back, then each alone ─▶ bounded retries ─▶ dead letter
                                                └ a row is locked ─▶ after the others, without end
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from google.protobuf.message import Message
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import Link, Span

from chassis import inbox, kafka, logs, message_spans, messages, telemetry
from chassis.database import Database, Transaction, is_locked, is_overdue, is_transient
from chassis.dead_letters import DeadLetters
from chassis.messages import Envelope, Poison
from chassis.router import Handler, Subscription

log = logs.get(__name__)

Record = ConsumerRecord[bytes, bytes]

# How long an idle member waits before it commits what it has done.
POLL_SECONDS = 1.0
# Offsets only save work after a restart: the inbox knows what was applied. They are not worth a round trip a message.
COMMIT_INTERVAL_SECONDS = 1.0
# While the broker is away, the library tries to commit without end.
COMMIT_SECONDS_MAX = 2.0
# For each of the three steps after the last commit; all of it is less than the grace of a process that is to stop.
LEAVE_SECONDS_MAX = 1.5
RETRY_SECONDS_MAX = 2.0
REVOKE_SECONDS_MAX = 20.0

_HANDLED = telemetry.meter.create_counter(
    "shop.inbox.messages", description="Messages that a group applied or knew already."
)
_AGE = telemetry.meter.create_histogram(
    "shop.kafka.age", unit="s", description="How long messages were on Kafka before a group took them, by group."
)
_DURATION = telemetry.meter.create_histogram(
    "messaging.process.duration", unit="s", description="How long a batch of messages took, by group."
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message in hand: as Kafka brought it, as it reads, and what is to be done about it."""

    record: Record
    envelope: Envelope
    event: Message
    handler: Handler


class _Moving(Exception):
    """Partitions move, and what is in hand cannot be finished; it was not committed and comes again, here or there."""


class Consumer:
    """One consumer group's member: feeds a subscription's handlers, in order within each key."""

    def __init__(
        self,
        database: Database,
        client: AIOKafkaConsumer,
        subscription: Subscription,
        dead_letters: DeadLetters,
        *,
        stopping: asyncio.Event,
        batch_max: int = 50,
        attempts_max: int = 5,
        trace_async: str = "parent",
    ) -> None:
        self._database, self._client, self._subscription = database, client, subscription
        self._dead_letters, self._stopping = dead_letters, stopping
        dead_letters.count_from_zero(subscription.topics, subscription.group)
        self._batch_max, self._attempts_max, self._trace_async = batch_max, attempts_max, trace_async
        self._idle = asyncio.Event()
        self._idle.set()
        self._moving = asyncio.Event()
        self._done: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._committed_at = 0.0

    async def run(self) -> None:
        """Consume until the process is to stop; what is in hand is finished first."""
        self._client.subscribe(self._subscription.topics, listener=_Rebalance(self))
        _members.add(self)
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await kafka.start(self._client.start, self._subscription.group, self._stopping)
            while not self._stopping.is_set():
                await self._turn(stop)
        except kafka.Stopped:
            log.info("stopped with messages in hand; they come again", group=self._subscription.group)
        finally:
            stop.cancel()
            _members.discard(self)
            await self._leave()

    async def _leave(self) -> None:
        """Commit and close both clients, each whatever became of the others; bounded, whether or not Kafka answers."""
        connections = self._client._client  # pyright: ignore[reportPrivateUsage] - see `_bounded`
        async with AsyncExitStack() as leaving:
            for close in (self._dead_letters.close, connections.close, self._client.stop):
                leaving.push_async_callback(self._bounded, close)
            await self.commit()

    async def _bounded(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for it, but not for long.

        In a task of its own: the library's `stop` awaits fetches that it has cancelled, and with the broker away it
        ends with their CancelledError, as if we were cancelled, and leaves its connections open.
        """
        closing = asyncio.create_task(close())
        try:
            await asyncio.wait({closing}, timeout=LEAVE_SECONDS_MAX)
            if not closing.done():
                log.warning("left without a word: the broker does not answer", group=self._subscription.group)
            elif not closing.cancelled():
                closing.result()
        finally:
            closing.cancel()

    async def _turn(self, stop: asyncio.Task[bool]) -> None:
        fetched = await self._fetch(stop)
        self._idle.clear()
        for partition, records in fetched.items():
            # What is in hand counts as lag even if it is the first, and cannot be applied.
            self._positions.setdefault(partition, records[0].offset)
        try:
            for batch in batches(fetched.values(), self._batch_max):
                await self._apply(batch)
                if self._stopping.is_set() or self._moving.is_set():
                    break
        except _Moving:
            log.info("partitions move with messages in hand; they come again", group=self._subscription.group)
        finally:
            self._idle.set()
        if time.monotonic() - self._committed_at >= COMMIT_INTERVAL_SECONDS:
            await self.commit()

    async def _fetch(self, stop: asyncio.Task[bool]) -> Mapping[TopicPartition, Sequence[Record]]:
        """What waits, or nothing after a while, and at once when the process is to stop."""
        fetching = asyncio.create_task(
            self._client.getmany(timeout_ms=int(POLL_SECONDS * 1000), max_records=self._batch_max * 4)
        )
        try:
            await asyncio.wait({fetching, stop}, return_when=asyncio.FIRST_COMPLETED)
            return fetching.result() if fetching.done() else {}
        finally:
            fetching.cancel()

    async def settle(self) -> None:
        """Wait, bounded, for the batch in hand, and commit: called before partitions move to another member.

        A batch that cannot be finished now is given up: the library fetches nothing until this returns.
        """
        self._moving.set()
        if not await kafka.wait(self._idle, REVOKE_SECONDS_MAX):
            log.warning("partitions move while a handler still works", group=self._subscription.group)
        await self.commit()
        self._done.clear()
        # Another member moves on from here; what comes back later begins with the next message.
        self._positions.clear()

    def settled(self) -> None:
        """Go on with the partitions that are now assigned, each from its committed offset."""
        self._moving.clear()

    async def commit(self) -> None:
        """Commit the offsets of what is applied, bounded. A failure costs repeated deliveries, nothing else."""
        self._committed_at = time.monotonic()
        assigned = self._client.assignment()
        offsets = {partition: offset for partition, offset in self._done.items() if partition in assigned}
        if not offsets:
            return
        try:
            async with asyncio.timeout(COMMIT_SECONDS_MAX):
                await self._client.commit(offsets)
        except (CommitFailedError, IllegalStateError, KafkaError, TimeoutError) as error:
            log.warning("offsets not committed", group=self._subscription.group, error=repr(error))
        else:
            self._done.clear()

    async def _apply(self, batch: Sequence[Record]) -> None:
        """Apply a batch, whatever it takes; returns when each message is applied, known already, or dead."""
        deliveries: list[Delivery] = []
        for record in batch:
            try:
                envelope = messages.parse(record.headers, record.value, record.timestamp)
                if not self._subscription.ignores(envelope):
                    deliveries.append(Delivery(record, envelope, *self._subscription.route(envelope)))
            except Poison as poison:
                await self._dead_letters.bury(record, self._subscription.group, str(poison))
        # Every transaction locks aggregates in the same order, so two batches cannot wait for each other in a circle.
        deliveries.sort(key=lambda delivery: delivery.envelope.subject)
        if deliveries and await self._attempt(deliveries) is not None:
            await self._one_by_one(deliveries)
        for record in batch:
            partition = TopicPartition(record.topic, record.partition)
            self._done[partition] = self._positions[partition] = record.offset + 1

    async def _one_by_one(self, deliveries: Sequence[Delivery]) -> None:
        """Each in a transaction of its own; those whose rows are locked come after the others, and wait without end."""
        while deliveries:
            deliveries = [delivery for delivery in deliveries if not await self._alone(delivery)]

    async def _alone(self, delivery: Delivery) -> bool:
        """Apply it, or bury it when it has failed so often; False if another transaction keeps its rows locked."""
        attempts = 0
        while (error := await self._attempt([delivery])) is not None:
            if is_locked(error):
                # The attempt itself has waited for the lock; this is for whoever wants to stop, or the partitions.
                await self._hold_on(0.1)
                return False
            attempts += 1
            if attempts >= self._attempts_max:
                await self._bury(delivery, error)
                break
            await self._hold_on(random.uniform(0, min(RETRY_SECONDS_MAX, 0.05 * 2**attempts)))  # noqa: S311 - jitter
        return True

    async def _bury(self, delivery: Delivery, error: Exception) -> None:
        span = self._span(delivery)
        telemetry.fail(span, error)
        span.end()
        await self._dead_letters.bury(delivery.record, self._subscription.group, f"{type(error).__name__}: {error}")

    async def _attempt(self, deliveries: Sequence[Delivery]) -> Exception | None:
        """Apply in one transaction; returns why it failed, if it did. Again without end while the database is away."""
        pause = 0.1
        while True:
            try:
                await self._transaction(deliveries)
            except Exception as error:
                # One that waits for too long is no outage: the database answers the others.
                overdue = is_overdue(error)
                if overdue or not is_transient(error):
                    log.warning(
                        "a lock or a statement took too long" if overdue else "handler failed",
                        group=self._subscription.group,
                        messages=len(deliveries),
                        error=repr(error),
                        exc_info=error if len(deliveries) == 1 and not overdue else None,
                    )
                    return error
                log.warning(
                    "the database does not answer; trying again", group=self._subscription.group, error=repr(error)
                )
            else:
                return None
            await self._hold_on(pause)
            pause = min(2 * pause, RETRY_SECONDS_MAX)

    async def _hold_on(self, seconds: float) -> None:
        """Stay a member of the group while waiting: poll, with everything paused.

        Raises:
            Stopped: the process is to stop.
            _Moving: partitions move. A poll would wait for the new ones, and they wait for what is in hand.
        """
        wishes = [asyncio.create_task(wish.wait()) for wish in (self._stopping, self._moving)]
        try:
            await asyncio.wait(wishes, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wish in wishes:
                wish.cancel()
        if self._stopping.is_set():
            raise kafka.Stopped
        if self._moving.is_set():
            raise _Moving
        assigned = self._client.assignment()
        self._client.pause(*assigned)
        await self._client.getmany(timeout_ms=0)
        self._client.resume(*(assigned & self._client.assignment()))

    async def _transaction(self, deliveries: Sequence[Delivery]) -> None:
        began, at_ns = time.perf_counter(), time.time_ns()
        envelopes = [delivery.envelope for delivery in deliveries]
        spans = [self._span(delivery, at_ns) for delivery in deliveries]
        # Alone, a message's trace tells everything; a statement that serves several orders belongs to the batch's.
        poll = None if len(deliveries) == 1 else self._poll(deliveries)
        with (
            telemetry.inside(poll or spans[0]),
            telemetry.about_order("" if poll else envelopes[0].subject),
        ):
            async with self._database.transaction() as transaction:
                transaction.batch = poll
                new = await inbox.note(transaction, self._subscription.group, [one.id for one in envelopes])
                for delivery, span in zip(deliveries, spans, strict=True):
                    outcome = "applied" if delivery.envelope.id in new else "duplicate"
                    span.set_attribute("shop.inbox.outcome", outcome)
                    if outcome == "applied":
                        await self._handle(transaction, delivery, span)
        for delivery, span in zip(deliveries, spans, strict=True):
            if poll:
                message_spans.shared(span, transaction.shared_by(delivery.envelope.subject), len(deliveries))
            span.end()
        if poll:
            poll.end()
        _DURATION.record(time.perf_counter() - began, {"messaging.consumer.group.name": self._subscription.group})
        for delivery in deliveries:
            outcome = "applied" if delivery.envelope.id in new else "duplicate"
            _HANDLED.add(1, {"group": self._subscription.group, "outcome": outcome})
            _AGE.record(message_spans.kafka_age_seconds(delivery.record, at_ns), {"group": self._subscription.group})

    async def _handle(self, transaction: Transaction, delivery: Delivery, span: Span) -> None:
        envelope, onward = delivery.envelope, None
        if self._trace_async == "link":
            # Only the message's own work begins a trace; what follows from it stays in the order's.
            onward = telemetry.Onward(envelope.trace, Link(span.get_span_context()))
        with telemetry.about_order(envelope.subject), telemetry.inside(span, delivery.handler, onward):
            await delivery.handler(transaction, delivery.event, envelope)

    def _poll(self, deliveries: Sequence[Delivery]) -> Span:
        topics = sorted({delivery.record.topic for delivery in deliveries})
        return message_spans.poll(topics, self._subscription.group, [delivery.envelope for delivery in deliveries])

    def _span(self, delivery: Delivery, at_ns: int | None = None) -> Span:
        return message_spans.process(
            delivery.record,
            delivery.envelope,
            self._subscription.group,
            delivery.handler,
            at_ns=at_ns,
            trace_async=self._trace_async,
        )

    def lag(self) -> Iterable[Observation]:
        """How many messages of each of its partitions are not applied; nothing of one that has brought none yet."""
        for partition in self._client.assignment():
            highwater, position = self._client.highwater(partition), self._positions.get(partition)
            if highwater is not None and position is not None:
                labels = {"topic": partition.topic, "partition": partition.partition, "group": self._subscription.group}
                yield Observation(max(0, highwater - position), labels)


# A name can be given to one instrument only, so all members of the process share it.
_members: set[Consumer] = set()


def _lag(_options: CallbackOptions) -> Iterable[Observation]:
    for member in tuple(_members):
        yield from member.lag()


telemetry.meter.create_observable_gauge(
    "shop.consumer.lag",
    callbacks=[_lag],
    description="Messages on Kafka that the group has not applied, by topic and partition.",
)


def batches(fetched: Iterable[Sequence[Record]], batch_max: int) -> Iterable[list[Record]]:
    """Cut what was fetched into batches: in order within each partition, no key twice in one batch."""
    waiting = [deque(records) for records in fetched if records]
    while waiting:
        batch: list[Record] = []
        keys: set[bytes | None] = set()
        for records in waiting:
            while records and len(batch) < batch_max and records[0].key not in keys:
                keys.add(records[0].key)
                batch.append(records.popleft())
        waiting = [records for records in waiting if records]
        yield batch


class _Rebalance(ConsumerRebalanceListener):
    def __init__(self, member: Consumer) -> None:
        self._member = member

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride] - may be a coroutine
        self, revoked: Collection[TopicPartition]
    ) -> None:
        await self._member.settle()

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride] - may be a coroutine
        self, assigned: Collection[TopicPartition]
    ) -> None:
        self._member.settled()
        log.info("partitions assigned", partitions=sorted(f"{part.topic}/{part.partition}" for part in assigned))
