"""How far a member is, partition by partition: what it has taken from Kafka, and what of that still waits.

committed ≤ oldest waiting ─ … applied and waiting … ─ next to read ─ … on Kafka … ─ end
            └──────── read ahead: bounded ──────────┘
"""

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka import TopicPartition

# How many messages are read ahead of the oldest waiting one. After a rebalance they come again, and are duplicates.
READ_AHEAD_MAX = 10_000
# What the waiting messages of all partitions may need, as far as we know: the partitions that have some then wait.
WAITING_BYTES_MAX = 32 * 2**20


@dataclass(slots=True)
class _Partition:
    """One partition: the next offset to read, what was committed last, and the offsets that wait."""

    next_offset: int
    committed: int
    waiting: Counter[int] = field(default_factory=lambda: Counter[int]())
    # The same, the lowest first; those that are done are taken out when they come to the front.
    lowest: list[int] = field(default_factory=lambda: list[int]())

    def oldest(self) -> int | None:
        while self.lowest and not self.waiting[self.lowest[0]]:
            del self.waiting[heapq.heappop(self.lowest)]
        return self.lowest[0] if self.lowest else None

    def committable(self) -> int:
        oldest = self.oldest()
        return self.next_offset if oldest is None else min(oldest, self.next_offset)


class Progress:
    """What one member knows about its partitions since they were assigned."""

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._waiting_bytes = 0

    def begin(self, partition: TopicPartition, offset: int) -> None:
        """The partition has brought its first message, at this offset; later calls change nothing."""
        if partition not in self._partitions:
            self._partitions[partition] = _Partition(offset, offset)

    def next_offset(self, partition: TopicPartition) -> int | None:
        """Where to read on: behind everything that was taken, applied or waiting. None: nothing was taken yet."""
        found = self._partitions.get(partition)
        return found.next_offset if found else None

    def take(self, partition: TopicPartition, offset: int) -> None:
        """All up to this offset is applied, dead or waiting; of a partition that has moved nothing is kept."""
        if found := self._partitions.get(partition):
            found.next_offset = offset + 1

    def pass_to(self, partition: TopicPartition, offset: int) -> None:
        """Nothing comes of what lies before this offset any more, whether or not it was a message."""
        if found := self._partitions.get(partition):
            found.next_offset = max(found.next_offset, offset)
        elif offset:
            # Kafka may not have it: a reader passes what was aborted before anything comes.
            self._partitions[partition] = _Partition(offset, committed=0)

    def wait(self, partition: TopicPartition, offset: int, size_bytes: int) -> None:
        """The message at this offset waits: nothing from it on may be committed."""
        if found := self._partitions.get(partition):
            found.waiting[offset] += 1
            heapq.heappush(found.lowest, offset)
            self._waiting_bytes += size_bytes

    def done(self, partition: TopicPartition, offset: int, size_bytes: int) -> None:
        """The message that waited at this offset is applied or dead."""
        found = self._partitions.get(partition)
        if found and found.waiting[offset]:
            found.waiting[offset] -= 1
            self._waiting_bytes -= size_bytes

    def is_full(self, partition: TopicPartition, room: int) -> bool:
        """Whether so many messages more would be read too far ahead of the oldest waiting one."""
        found = self._partitions.get(partition)
        oldest = found.oldest() if found else None
        if found is None or oldest is None:
            return False
        return found.next_offset + room - oldest > READ_AHEAD_MAX or self._waiting_bytes >= WAITING_BYTES_MAX

    def committable(self) -> Mapping[TopicPartition, int]:
        """The offsets to commit: those that have moved since the last commit, below all that waits."""
        offsets = {partition: found.committable() for partition, found in self._partitions.items()}
        return {
            partition: offset
            for partition, offset in offsets.items()
            if offset != self._partitions[partition].committed
        }

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Kafka has these offsets."""
        for partition, offset in offsets.items():
            if found := self._partitions.get(partition):
                found.committed = offset

    def lag(self, partition: TopicPartition, end: int, passed: int = 0) -> int | None:
        """How many messages up to the end are not applied, the waiting ones among them; None: not known yet.

        Args:
            passed: nothing comes of what lies before it any more, see `pass_to`.
        """
        found = self._partitions.get(partition)
        if found is None:
            return None
        return max(0, end - max(found.next_offset, passed)) + found.waiting.total()

    def clear(self) -> None:
        """The partitions move: another member goes on from what was committed."""
        self._partitions.clear()
        self._waiting_bytes = 0
