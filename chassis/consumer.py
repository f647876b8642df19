"""Applies events exactly once in effect: inbox row and handler share a transaction, the offset follows the commit.

what was fetched ─▶ one transaction for all of it ─▶ commit ─▶ offsets
                      └ one fails ─▶ roll back ─▶ each alone, its key waits (`waiting_keys`) ─▶ applied, or dead
"""

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from opentelemetry.metrics import Observation

from chassis import consumer_gauges, kafka, logs
from chassis.applier import Applier
from chassis.burials import Burials
from chassis.database import Database
from chassis.dead_letters import DeadLetters
from chassis.deliveries import batches
from chassis.fetching import Fetching, Taken, first_offset
from chassis.progress import Progress
from chassis.router import Subscription

log = logs.get(__name__)

# How long an idle member waits before it commits what it has done.
POLL_SECONDS = 1.0
# While dead letters are under way their partitions rest, and are read on soon after.
BURYING_POLL_SECONDS = 0.05
# Offsets only save work after a restart: the inbox knows what was applied. They are not worth a round trip a message.
COMMIT_INTERVAL_SECONDS = 1.0
# While the broker is away, the library tries to commit without end.
COMMIT_SECONDS_MAX = 2.0
# For each of the three steps after the last commit; all of it is less than the grace of a process that is to stop.
LEAVE_SECONDS_MAX = 1.5
REVOKE_SECONDS_MAX = 20.0
# For dead letters under way when the process is to stop; what has not arrived then comes again.
BURY_SECONDS_MAX = 1.0


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
        self._client, self._subscription = client, subscription
        self._fetching = Fetching(client)
        self._dead_letters, self._stopping = dead_letters, stopping
        dead_letters.count_from_zero(subscription.topics, subscription.group)
        self._batch_max, self._fetch_max = batch_max, 4 * batch_max
        self._idle = asyncio.Event()
        self._idle.set()
        self._moving = asyncio.Event()
        self._progress = Progress()
        self._burials = Burials(dead_letters, self._progress, subscription.group)
        self._applier = Applier(
            database,
            subscription,
            self._burials,
            self._progress,
            hold_on=self._hold_on,
            attempts_max=attempts_max,
            trace_async=trace_async,
        )
        # Partitions that rest: too far ahead of a waiting message, or with dead letters under way.
        self._resting: set[TopicPartition] = set()
        self._committed_at = 0.0

    async def run(self) -> None:
        """Consume until the process is to stop; what is in hand is finished first, what waits is given up."""
        self._client.subscribe(self._subscription.topics, listener=_Rebalance(self))
        consumer_gauges.members.add(self)
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await kafka.start(self._client.start, self._subscription.group, self._stopping)
            while not self._stopping.is_set():
                await self._turn(stop)
        except kafka.Stopped:
            log.info("stopped with messages in hand; they come again", group=self._subscription.group)
        finally:
            stop.cancel()
            consumer_gauges.members.discard(self)
            await self._leave()

    async def _leave(self) -> None:
        """Commit and close both clients, each whatever became of the others; bounded, whether or not Kafka answers."""
        connections = self._client._client  # pyright: ignore[reportPrivateUsage] - see `_bounded`
        async with AsyncExitStack() as leaving:
            for close in (self._dead_letters.close, connections.close, self._client.stop):
                leaving.push_async_callback(self._bounded, close)
            await asyncio.gather(self._applier.waiting.give_up(), self._burials.finish(BURY_SECONDS_MAX))
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
        self._applier.waiting.check()
        self._burials.check()
        self._rest()
        fetched = await self._fetch(stop)
        self._idle.clear()
        for partition, records in fetched.items():
            # What is in hand counts as lag even if it is the first, and cannot be applied.
            self._progress.begin(partition, first_offset(records[0]))
        try:
            for batch in batches(fetched.values(), self._batch_max):
                await self._applier.apply(batch)
                if self._stopping.is_set() or self._moving.is_set():
                    break
        except _Moving:
            log.info("partitions move with messages in hand; they come again", group=self._subscription.group)
        finally:
            self._idle.set()
        if time.monotonic() - self._committed_at >= COMMIT_INTERVAL_SECONDS:
            await self.commit()

    def _rest(self) -> None:
        """Read on from no partition that is too far ahead of a waiting message, or buries, and from all others."""
        if not self._applier.waiting and not self._burials.partitions and not self._resting:
            return
        assigned = self._client.assignment()
        rest = {each for each in assigned if self._progress.is_full(each, self._fetch_max)}
        rest |= self._burials.partitions & assigned
        self._client.pause(*(rest - self._resting))
        self._client.resume(*(self._resting - rest & assigned))
        self._resting = rest

    async def _fetch(self, stop: asyncio.Task[bool]) -> Mapping[TopicPartition, Sequence[Taken]]:
        """What has come, or nothing after a while, and at once when the process is to stop."""
        seconds = BURYING_POLL_SECONDS if self._burials.partitions else POLL_SECONDS
        fetching = asyncio.create_task(self._fetching.take(seconds, self._fetch_max))
        try:
            await asyncio.wait({fetching, stop}, return_when=asyncio.FIRST_COMPLETED)
            return fetching.result() if fetching.done() else {}
        finally:
            fetching.cancel()

    async def settle(self) -> None:
        """Wait, bounded, for the batch in hand, give up what waits, and commit: partitions move to another member.

        A batch that cannot be finished now is given up too: the library fetches nothing until this returns.
        """
        self._moving.set()
        if not await kafka.wait(self._idle, REVOKE_SECONDS_MAX):
            log.warning("partitions move while a handler still works", group=self._subscription.group)
        if keys := len(self._applier.waiting):
            log.info("partitions move while keys wait; they come again", group=self._subscription.group, keys=keys)
        await self._applier.waiting.give_up()
        await self.commit()
        self._burials.give_up()
        self._fetching.forget()
        self._progress.clear()
        self._resting.clear()

    def settled(self) -> None:
        """Go on with the partitions that are now assigned, each from its committed offset."""
        self._moving.clear()

    async def commit(self) -> None:
        """Commit the offsets of what is applied, bounded. A failure costs repeated deliveries, nothing else."""
        self._committed_at = time.monotonic()
        assigned = self._client.assignment()
        for partition in assigned:
            self._progress.pass_to(partition, self._passed(partition))
        offsets = {each: offset for each, offset in self._progress.committable().items() if each in assigned}
        if not offsets:
            return
        try:
            async with asyncio.timeout(COMMIT_SECONDS_MAX):
                await self._client.commit(offsets)
        except (CommitFailedError, IllegalStateError, KafkaError, TimeoutError) as error:
            log.warning("offsets not committed", group=self._subscription.group, error=repr(error))
        else:
            self._progress.committed(offsets)

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
        # All of them, also those that are to rest; `_rest` looks again before the next fetch.
        self._resting.clear()

    def _passed(self, partition: TopicPartition) -> int:
        """Where it is to be read on: behind what was taken, and what brings no record, such as aborted messages."""
        return self._fetching.passed(partition, self._progress.next_offset(partition) or 0)

    def lag(self) -> Iterable[Observation]:
        """How many messages of each of its partitions are not applied; nothing of one that has brought none yet."""
        for partition in self._client.assignment():
            end = self._fetching.last_stable_offset(partition)
            passed = self._passed(partition)
            lag = None if end is None else self._progress.lag(partition, end, passed)
            if lag is not None:
                labels = {"topic": partition.topic, "partition": partition.partition, "group": self._subscription.group}
                yield Observation(lag, labels)

    def keys_waiting(self) -> Observation:
        """How many keys wait."""
        return Observation(len(self._applier.waiting), {"group": self._subscription.group})

    def waiting_seconds(self) -> Observation:
        """For how long the key has waited that has waited longest."""
        oldest = next(iter(self._applier.waiting.all()), None)
        seconds = time.monotonic() - oldest.since if oldest else 0.0
        return Observation(seconds, {"group": self._subscription.group})


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
