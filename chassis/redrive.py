"""The way back from a dead letter topic: reads the letters, and sends each message to its topic again, once.

    inventory.events.dead ─ under the same event id, without the headers of its death ─▶ inventory.events

What was sent back is remembered in what a consumer group has committed: an offset before which all letters were, and,
in the commit's metadata, those beyond it that were sent one by one.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from chassis.dead_letters import MESSAGE_BYTES_MAX, PREFIX, SUFFIX, original
from chassis.letters import is_whole
from chassis.onlooker import Onlooker, Record

# Of what a broker takes as a commit's metadata (`offset.metadata.max.bytes`, 4096 unless told otherwise).
METADATA_CHARACTERS_MAX = 4_000


class NoSuchLetter(Exception):
    """There is no dead letter at this place."""


class RedrivenAlready(Exception):
    """The message of this dead letter was sent back before."""


class NotWhole(Exception):
    """This dead letter does not bring the message that died: it is cut, or bytes of the log that nobody could read."""


class TooScattered(Exception):
    """So many letters were sent back one by one that no more can be remembered; send back the whole topic."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that a group gave up, as it lies on the dead letter topic."""

    record: Record
    is_redriven: bool

    @property
    def topic(self) -> str:
        """The topic that the message was on."""
        return self.record.topic.removesuffix(SUFFIX)

    @property
    def is_whole(self) -> bool:
        """Whether it brings the message that died, so that this can be sent back."""
        return is_whole(self.record.headers)

    def died(self) -> dict[str, str]:
        """How: reason, topic, partition, offset, group and time; what somebody else put there does not say."""
        return {
            name.removeprefix(PREFIX): value.decode(errors="replace")
            for name, value in self.record.headers
            if name.startswith(PREFIX)
        }

    @property
    def died_as(self) -> tuple[str, str]:
        """Partition and offset that the message had when it died, the same in every group that gave it up."""
        died, record = self.died(), self.record
        # What somebody else put there is like no other.
        return died.get("partition", f"{record.partition}, dead"), died.get("offset", str(record.offset))


class Redriven:
    """Which letters of one partition were sent back: all before an offset, and some beyond it."""

    def __init__(self, committed: OffsetAndMetadata | None) -> None:
        self._before = max(0, committed.offset) if committed else 0
        # It may be null where nothing was committed.
        self._beyond = set(_read((committed.metadata if committed else "") or ""))

    def __contains__(self, offset: int) -> bool:
        return offset < self._before or offset in self._beyond

    def add(self, offset: int, first_offset: int) -> None:
        """One more was sent back.

        Args:
            first_offset: the oldest letter that is left; what was before it needs no memory.
        """
        self._before = max(self._before, first_offset)
        self._beyond.add(offset)
        while self._before in self._beyond:
            self._before += 1
        self._beyond = {each for each in self._beyond if each > self._before}

    def to_commit(self) -> OffsetAndMetadata:
        """The same as a commit.

        Raises:
            TooScattered: it does not fit.
        """
        text = _written(sorted(self._beyond))
        if len(text) > METADATA_CHARACTERS_MAX:
            raise TooScattered
        return OffsetAndMetadata(self._before, text)


def _read(text: str) -> Iterator[int]:
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _written(offsets: list[int]) -> str:
    """`5-9,12`: neighbours as one range."""
    ranges: list[list[int]] = []
    for offset in offsets:
        if ranges and ranges[-1][1] == offset - 1:
            ranges[-1][1] = offset
        else:
            ranges.append([offset, offset])
    return ",".join(f"{first}-{last}" if first < last else f"{first}" for first, last in ranges)


class DeadLetterTopic:
    """`async with DeadLetterTopic("127.0.0.1:9092", "inventory.events") as dead: await dead.redrive()`

    Entering it, and all that it does, raises KafkaError where no broker answers.
    """

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self.topic, self._dead = topic, topic + SUFFIX
        self._bootstrap_servers, self._group = bootstrap_servers, f"{topic}{SUFFIX}.redrive"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._onlooker = await stack.enter_async_context(Onlooker(self._bootstrap_servers))
            # Asking for the partitions of a topic that is not there would make it, on a mock broker.
            is_there = self._dead in await self._onlooker.topics()
            self._partitions = await self._onlooker.partitions([self._dead]) if is_there else []
            committed = await self._onlooker.committed(self._group, self._partitions)
            self._redriven = {each: Redriven(committed.get(each)) for each in self._partitions}
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def letters(self) -> AsyncGenerator[DeadLetter]:
        """All that are there now, the oldest first."""
        if self._partitions:
            async for record in self._onlooker.past([self._dead]):
                yield DeadLetter(record, record.offset in self._redriven[_place(record)])

    async def letter(self, partition: int, offset: int) -> DeadLetter:
        """The letter at this place.

        Raises:
            NoSuchLetter: there is none.
        """
        found = [
            each async for each in self.letters() if (each.record.partition, each.record.offset) == (partition, offset)
        ]
        if not found:
            raise NoSuchLetter
        return found[0]

    async def redrive(self, chosen: Callable[[DeadLetter], bool] = lambda _: True) -> int:
        """Send the messages of the letters that wait, and are chosen, back; returns how many.

        Groups that have handled a message know it by its id and pass over it. A message that died in several groups is
        sent once, for each would bury each copy again. What dies meanwhile is left for the next time.

        Raises:
            TooScattered: see there; what was sent until then is remembered.
        """
        sent: set[tuple[str, str]] = set()
        first: dict[TopicPartition, int] = {}
        async with _clients(self._bootstrap_servers, self._group, self._partitions) as (target, keeper):
            async for letter in self.letters():
                place = _place(letter.record)
                first.setdefault(place, letter.record.offset)
                if letter.is_redriven or not letter.is_whole or not chosen(letter):
                    continue
                self._redriven[place].add(letter.record.offset, first[place])
                remembered: Mapping[TopicPartition, OffsetAndMetadata] = {place: self._redriven[place].to_commit()}
                if letter.died_as not in sent:
                    record = letter.record
                    await target.send_and_wait(
                        self.topic, record.value, key=record.key, headers=original(record.headers)
                    )
                    sent.add(letter.died_as)
                await keeper.commit(remembered)
        return len(sent)

    async def redrive_one(self, partition: int, offset: int) -> None:
        """Send one letter's message back; the letters that other groups made of the same message count as sent too.

        Raises:
            NoSuchLetter: there is none.
            RedrivenAlready: it was sent before.
            NotWhole: see there.
            TooScattered: see there.
        """
        letter = await self.letter(partition, offset)
        if letter.is_redriven:
            raise RedrivenAlready
        if not letter.is_whole:
            raise NotWhole
        await self.redrive(lambda other: other.died_as == letter.died_as)


def _place(record: Record) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


@asynccontextmanager
async def _clients(
    bootstrap_servers: str, group: str, partitions: list[TopicPartition]
) -> AsyncGenerator[tuple[AIOKafkaProducer, AIOKafkaConsumer]]:
    """What sends, and what commits: it is given the partitions, joins nobody, and fetches nothing."""
    async with AsyncExitStack() as stack:
        target = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            acks="all",
            enable_idempotence=True,
            max_request_size=MESSAGE_BYTES_MAX,
        )
        stack.push_async_callback(target.stop)
        await target.start()
        keeper = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            group_id=group,
            enable_auto_commit=False,
            isolation_level="read_committed",
        )
        stack.push_async_callback(keeper.stop)
        await keeper.start()
        keeper.assign(partitions)
        keeper.pause(*partitions)
        yield target, keeper
