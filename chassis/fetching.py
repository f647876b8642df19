"""What a group's member takes from Kafka: records, and in their places what nobody can read. It fails on neither.

getmany ─ each partition in its order ─▶ records · unreadable stretches
   └ an error ─▶ every partition goes back to behind what was taken
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, RecordTooLargeError

from chassis import logs
from chassis.mending import Unreadable
from chassis.screen import Screen

__all__ = ["Fetching", "Record", "Taken", "Unreadable", "first_offset"]

log = logs.get(__name__)

Record = ConsumerRecord[bytes, bytes]
Taken = Record | Unreadable


def first_offset(taken: Taken) -> int:
    """Where it begins: what cannot be read may stand for several messages."""
    return taken.first_offset if isinstance(taken, Unreadable) else taken.offset


def _taken(record: Record, places: Mapping[int, Unreadable]) -> Sequence[Taken]:
    place = places.get(record.offset)
    if place is None:
        return (record,)
    return (record, place) if place.is_beside else (place,)


class Fetching:
    """The reading side of a member of a group; to be made before its client is started."""

    def __init__(self, client: AIOKafkaConsumer) -> None:
        self._client, self._screen = client, Screen(client)
        # Behind the last record that was taken.
        self._taken: dict[TopicPartition, int] = {}
        self._left: Any = None

    async def take(self, seconds: float, records_max: int) -> Mapping[TopicPartition, Sequence[Taken]]:
        """What has come, by partition and in its order; nothing after so many seconds without.

        Raises:
            KafkaError: the library cannot go on. All that was not taken comes again.
        """
        try:
            fetched = await self._client.getmany(timeout_ms=int(seconds * 1000), max_records=records_max)
        except (CorruptRecordException, RecordTooLargeError) as error:
            log.warning("what was fetched cannot be read; it is fetched again", error=repr(error))
            await self._go_back()
            return {}
        except KafkaError:
            await self._go_back()
            raise
        taken: dict[TopicPartition, Sequence[Taken]] = {}
        for partition, records in fetched.items():
            self._taken[partition] = records[-1].offset + 1
            places = self._screen.unreadable(partition)
            taken[partition] = [each for record in records for each in _taken(record, places)] if places else records
        return taken

    def passed(self, partition: TopicPartition, done: int) -> int:
        """Where the partition stands if all before `done` is done: behind what brings no record, too.

        Nothing comes of the markers and the messages of aborted transactions; yet the reader has passed them.
        """
        return max(done, self._position(partition)) if done >= self._taken.get(partition, done) else done

    def last_stable_offset(self, partition: TopicPartition) -> int | None:
        """Behind what can be read by now: an open transaction may come to nothing. None where nothing came yet."""
        stable = self._client.last_stable_offset(partition)
        return self._client.highwater(partition) if stable is None or stable < 0 else stable

    def forget(self) -> None:
        """Partitions move: what was taken from them says nothing about where they begin next time."""
        self._taken.clear()
        self._screen.forget()
        # Until there is a new assignment, its reader stands behind what was taken and not done.
        self._left = self._assignment()

    def _position(self, partition: TopicPartition) -> int:
        assignment = self._assignment()
        state = assignment.state_value(partition) if assignment and assignment is not self._left else None
        return state.position if state and state.has_valid_position else 0

    def _assignment(self) -> Any:
        # The public way to a position is a coroutine, and a gauge is asked without a loop.
        subscription = self._client._subscription.subscription  # pyright: ignore[reportPrivateUsage]
        return subscription.assignment if subscription else None

    async def _go_back(self) -> None:
        """The library has moved on in partitions whose records it then did not hand out."""
        for partition in self._client.assignment():
            if partition in self._taken:
                self._client.seek(partition, self._taken[partition])
            elif not (await self._client.seek_to_committed(partition))[partition]:
                await self._client.seek_to_beginning(partition)
