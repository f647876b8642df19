"""Stands between a client's connections and its reader: of what is fetched, only what can be read gets through.

    broker ─▶ connections ─▶ screen ─▶ the library's reader ─▶ getmany
                               └ a batch that cannot be read: cut off, fetched once more, then mended

The library's reader raises on the first thing that it cannot read, loses what it had taken from other partitions, and
meets the same bytes again at every start. It decompresses without a bound, and believes offsets that lie.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.protocol.fetch import FetchRequest

from chassis import logs, mending
from chassis.mending import Stretch, Unreadable
from chassis.record_batch import LENGTH_END
from chassis.records import Malformed

log = logs.get(__name__)

_LENGTH = struct.Struct(">i")
_LENGTH_AT = 8
# The shortest that any format allows.
_LENGTH_MIN = 14
# Where an answer says how far the partition goes: its error, its end, and the last stable offset from version 4 on.
_END, _STABLE, _ANSWER_WITH_STABLE = 2, 3, 4


class Screen:
    """`Screen(client)`, before the client is started; then `unreadable(partition)` says what the places stand for."""

    def __init__(self, client: AIOKafkaConsumer) -> None:
        # There is no other way to the bytes: the library unpacks them where nobody can look.
        connections: Any = client._client  # pyright: ignore[reportPrivateUsage]
        self._send = connections.send
        connections.send = self._answer
        self._unreadable: dict[TopicPartition, dict[int, Unreadable]] = {}
        # Where a batch could not be read that is being fetched once more.
        self._suspects: dict[TopicPartition, int] = {}

    def unreadable(self, partition: TopicPartition) -> Mapping[int, Unreadable]:
        """By the offset of the record that holds the place."""
        return self._unreadable.get(partition, {})

    def forget(self) -> None:
        """Partitions move."""
        self._unreadable.clear()
        self._suspects.clear()

    async def _answer(self, node_id: Any, request: Any, **options: Any) -> Any:
        answer = await self._send(node_id, request, **options)
        if isinstance(request, FetchRequest) and any(each[-1] for _, found in answer.topics for each in found):
            asked = {(topic, each[0]): each[1] for topic, partitions in request.topics for each in partitions}
            answer.topics = [
                (topic, [self._screened(topic, asked, each, answer.API_VERSION) for each in partitions])
                for topic, partitions in answer.topics
            ]
        return answer

    def _screened(
        self, topic: str, asked: Mapping[tuple[str, int], int], answered: tuple[Any, ...], version: int
    ) -> tuple[Any, ...]:
        fetched = answered[-1]
        if not fetched:
            return answered
        partition = TopicPartition(topic, answered[0])
        stable = answered[_STABLE] if version >= _ANSWER_WITH_STABLE else -1
        ends_before = stable if stable >= 0 else answered[_END]
        return (*answered[:-1], self._readable(fetched, Stretch(partition, asked[partition], ends_before)))

    def _readable(self, fetched: bytes, stretch: Stretch) -> bytes:
        """What the library may read of these bytes, from their beginning on."""
        self._drop(stretch)
        batches: list[bytes] = []
        at, expected = 0, stretch.expected
        while at < len(fetched):
            ends = _end(fetched, at)
            if ends is None and batches:
                # The answer had no room for more.
                break
            raw, at = fetched[at:ends], ends or len(fetched)
            here = replace(stretch, expected=expected)
            try:
                batch, next_offset = mending.read(raw, here)
                _check_order(here, next_offset, fetched, at)
                expected = next_offset
            except Malformed as flaw:
                if self._suspects.get(stretch.partition) != expected:
                    self._ask_again(here, flaw)
                    break
                mended = mending.mend(raw, replace(here, next_batch=_next_batch(here, fetched, at)))
                batch, expected = mended.batch, mended.next_offset
                self._note(stretch.partition, mended.unreadable)
                if mended.is_passed_over:
                    batches.append(batch)
                    break
            batches.append(batch)
        return b"".join(batches)

    def _drop(self, stretch: Stretch) -> None:
        """What was handed out, and what belongs to transactions that the library passed over."""
        if places := self._unreadable.get(stretch.partition):
            self._unreadable[stretch.partition] = {
                offset: found for offset, found in places.items() if offset >= stretch.expected
            }

    def _ask_again(self, here: Stretch, flaw: Malformed) -> None:
        """The library asks for what it was not given; a read that was bad once is no loss."""
        self._suspects[here.partition] = here.expected
        place = {"topic": here.partition.topic, "partition": here.partition.partition, "offset": here.expected}
        log.warning("a batch cannot be read; it is fetched once more", **place, reason=str(flaw))

    def _note(self, partition: TopicPartition, unreadable: Sequence[Unreadable]) -> None:
        self._unreadable.setdefault(partition, {}).update((found.offset, found) for found in unreadable)


def _end(fetched: bytes, at: int) -> int | None:
    """Where the batch ends that begins here; None if it does not."""
    if len(fetched) - at < LENGTH_END:
        return None
    (length,) = _LENGTH.unpack_from(fetched, at + _LENGTH_AT)
    return at + LENGTH_END + length if _LENGTH_MIN <= length <= len(fetched) - at - LENGTH_END else None


def _begins(fetched: bytes, at: int) -> int:
    """The first offset of the batch that begins here, as it says itself."""
    return int.from_bytes(fetched[at : at + _LENGTH_AT], signed=True)


def _check_order(here: Stretch, next_offset: int, fetched: bytes, at: int) -> None:
    """
    Raises:
        Malformed: a batch that can be read begins before this one ends: the library would skip its messages.
    """
    if at < len(fetched) and _begins(fetched, at) < next_offset:
        begins = _next_batch(here, fetched, at)
        if begins is not None and begins < next_offset:
            raise Malformed(f"its last offset, {next_offset - 1}, is one of the next batch, which begins at {begins}")


def _next_batch(here: Stretch, fetched: bytes, at: int) -> int | None:
    """Where the next batch begins, if it can be read: the header of one that is damaged may lie."""
    if (ends := _end(fetched, at)) is None:
        return None
    begins = _begins(fetched, at)
    if begins <= here.expected:
        return None
    try:
        mending.read(fetched[at:ends], replace(here, expected=begins))
    except Malformed:
        return None
    return begins
