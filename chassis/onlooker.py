"""Reads topics beside everybody: a member of no group, so that nothing is committed and nobody's partitions move."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.structs import OffsetAndMetadata

from chassis.fetching import Record
from chassis.screen import Screen

ANSWER_SECONDS_MAX = 5.0
POLL_SECONDS = 0.05
# The mock broker holds an empty fetch for the whole of its wait.
FETCH_WAIT_MS_MAX = 100


class Onlooker:
    """`async with Onlooker("127.0.0.1:9092") as onlooker: async for record in onlooker.past(["order.events"]): …`

    Entering it raises KafkaError where no broker answers.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        # How often something was passed over that nobody can read.
        self.unreadable = 0

    async def __aenter__(self) -> Self:
        patience_ms = int(1000 * ANSWER_SECONDS_MAX)
        async with AsyncExitStack() as stack:
            self._admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers, request_timeout_ms=patience_ms)
            stack.push_async_callback(self._admin.close)
            await self._admin.start()
            # It asks for one topic's leader after the other, and pauses in between.
            self._consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap_servers,
                request_timeout_ms=patience_ms,
                fetch_max_wait_ms=FETCH_WAIT_MS_MAX,
                auto_offset_reset="earliest",
                retry_backoff_ms=10,
                # What a transaction wrote counts once it is committed.
                isolation_level="read_committed",
            )
            self._screen = Screen(self._consumer)
            stack.push_async_callback(self._consumer.stop)
            await self._consumer.start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def topics(self) -> set[str]:
        """Those that the broker has."""
        return set(await self._admin.list_topics())

    async def partitions(self, topics: Collection[str]) -> list[TopicPartition]:
        """Those of these topics; of a topic that the broker does not have, none. A mock broker makes it then."""
        return [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in await self._admin.describe_topics(list(topics))
            for partition in topic["partitions"]
        ]

    async def committed(
        self, group: str, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """What a group has committed; offset -1 where it has not.

        Raises:
            KafkaError: the broker does not know, and does not find out in time.
        """
        ends_at = asyncio.get_running_loop().time() + ANSWER_SECONDS_MAX
        # While a broker loads a group, or makes room for its first one, it answers with nothing, or that it cannot.
        while True:
            try:
                found = await self._admin.list_consumer_group_offsets(group, partitions=list(partitions))
                if found.keys() >= set(partitions):
                    return found
            except KafkaError as error:
                if not error.retriable:
                    raise
            if asyncio.get_running_loop().time() > ends_at:
                raise KafkaTimeoutError(f"what {group} has committed is not known")
            await asyncio.sleep(POLL_SECONDS)

    async def past(self, topics: Collection[str]) -> AsyncGenerator[Record]:
        """What is there now, the oldest first."""
        partitions = await self.partitions(topics)
        begins = await self._consumer.beginning_offsets(partitions) if partitions else {}
        ends = await self._consumer.end_offsets(partitions) if partitions else {}
        async for record in self._between(begins, ends):
            yield record

    async def tail(self, topics: Collection[str], *, from_beginning: bool) -> AsyncGenerator[Record]:
        """What is there now, if that is wanted, the oldest first, and then whatever comes; it never ends.

        Nothing that comes once this has returned is missed.
        """
        partitions = await self.partitions(topics)
        ends = await self._consumer.end_offsets(partitions)
        return self._tail(await self._consumer.beginning_offsets(partitions) if from_beginning else {}, ends)

    async def _tail(
        self, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncGenerator[Record]:
        async for record in self._between(begins, ends):
            yield record
        self._from(ends)
        while True:
            fetched = await self._consumer.getmany(timeout_ms=1000)
            found = [each for partition, records in fetched.items() for each in self._readable(partition, records)]
            for record in sorted(found, key=_timestamp):
                yield record

    async def _between(
        self, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncGenerator[Record]:
        """Merged by time; within a partition the order is Kafka's."""
        unread = {partition for partition, begin in begins.items() if begin < ends[partition]}
        if unread:
            self._from({partition: begins[partition] for partition in unread})
        heads = {partition: deque[Record]() for partition in unread}
        while heads:
            if unread & {partition for partition, records in heads.items() if not records}:
                await self._fetch(heads, ends, unread)
            # The last offsets may bring no message: markers of transactions, and messages of aborted ones.
            heads = {partition: records for partition, records in heads.items() if records or partition in unread}
            if all(heads.values()) and heads:
                yield min(heads.values(), key=lambda records: _timestamp(records[0])).popleft()

    async def _fetch(
        self,
        heads: Mapping[TopicPartition, deque[Record]],
        ends: Mapping[TopicPartition, int],
        unread: set[TopicPartition],
    ) -> None:
        """Once; takes those off `unread` that have been read to their ends."""
        ends_at = asyncio.get_running_loop().time() + ANSWER_SECONDS_MAX
        stood = await self._positions(unread)
        while not (fetched := await self._consumer.getmany(timeout_ms=FETCH_WAIT_MS_MAX)):
            if await self._positions(unread) != stood:
                break
            if asyncio.get_running_loop().time() > ends_at:
                raise KafkaTimeoutError(f"no message within {ANSWER_SECONDS_MAX:g} s, although there are more")
        for partition, records in fetched.items():
            if partition in heads:
                heads[partition].extend(
                    each for each in self._readable(partition, records) if each.offset < ends[partition]
                )
        for partition, position in (await self._positions(unread)).items():
            if position >= ends[partition]:
                unread.discard(partition)
                # Else a mock broker would be asked for what is behind the end, and hold the fetches of the others too.
                self._consumer.pause(partition)

    async def _positions(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {partition: await self._consumer.position(partition) for partition in partitions}

    def _readable(self, partition: TopicPartition, records: Sequence[Record]) -> list[Record]:
        places = self._screen.unreadable(partition)
        held = {offset for offset, place in places.items() if not place.is_beside}
        readable = [record for record in records if record.offset not in held]
        self.unreadable += sum(record.offset in places for record in records)
        return readable

    def _from(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._consumer.assign(list(offsets))
        # At once: later it would race with the client, which looks up where to begin.
        for partition, offset in offsets.items():
            self._consumer.seek(partition, offset)


def _timestamp(record: Record) -> int:
    # A record may have none.
    return record.timestamp or 0
