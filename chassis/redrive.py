"""The way back from a dead letter topic: reads the letters, and sends each message to its topic again, once.

    inventory.events.dead ─ under the same event id, without the headers of its death ─▶ inventory.events

What was sent back is remembered in what a consumer group has committed: an offset before which all letters were, and,
in the commit's metadata, those beyond it that were sent one by one.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from chassis.dead_letters import PREFIX, SUFFIX
from chassis.onlooker import Onlooker, Record
from chassis.redrive_sender import Sender
from chassis.redriven import Redriven, TooScattered


class NoSuchLetter(Exception):
    """There is no dead letter at this place."""


class RedrivenAlready(Exception):
    """The message of this dead letter was sent back before."""


class PassedOver(Exception):
    """The message of this dead letter cannot be sent back, or its topic does not take it; the text says why."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that a group gave up, as it lies on the dead letter topic."""

    record: Record
    is_redriven: bool

    @property
    def topic(self) -> str:
        """The topic that the message was on."""
        return self.record.topic.removesuffix(SUFFIX)

    def died(self) -> dict[str, str]:
        """How: reason, topic, partition, offset, group and time; what somebody else put there does not say."""
        # A header may be null on Kafka, which says nothing.
        return {
            name.removeprefix(PREFIX): value.decode(errors="replace")
            for name, value in self._dead_headers()
            if value is not None
        }

    @property
    def passed_over(self) -> str:
        """Why it cannot be sent back, whatever else happens; empty if it can."""
        for name, value in self._dead_headers():
            if value is None:
                return f"header {name[:100]!r} is null"
            try:
                value.decode()
            except UnicodeDecodeError:
                return f"header {name[:100]!r} is not UTF-8"
        if self.record.key is None and self.record.value is None:
            return "it has neither key nor value"
        return ""

    @property
    def died_as(self) -> tuple[str, str]:
        """Partition and offset that the message had when it died, the same in every group that gave it up."""
        died, record = self.died(), self.record
        # What somebody else put there, or nobody can read, is like no other.
        alone = (f"{record.partition}, dead", str(record.offset))
        return alone if self.passed_over else (died.get("partition", alone[0]), died.get("offset", alone[1]))

    def _dead_headers(self) -> list[tuple[str, bytes | None]]:
        return [(name, value) for name, value in self.record.headers if name.startswith(PREFIX)]


class DeadLetterTopic:
    """`async with DeadLetterTopic("127.0.0.1:9092", "inventory.events") as dead: await dead.redrive()`

    Entering it, and all that it does, raises KafkaError where no broker answers.
    """

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self.topic, self._dead = topic, topic + SUFFIX
        self._bootstrap_servers, self._group = bootstrap_servers, f"{topic}{SUFFIX}.redrive"
        # Of the last redrive: why letters were left, and how many for each reason.
        self.passed_over = Counter[str]()

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

    async def redrive(
        self, chosen: Callable[[DeadLetter], bool] = lambda _: True, *, must_remember: bool = False
    ) -> int:
        """Send the messages of the letters that wait, and are chosen, back; returns how many.

        Groups that have handled a message know it by its id and pass over it. A message that died in several groups is
        sent once, for each would bury each copy again. What dies meanwhile is left for the next time. A letter that
        cannot be read, or whose message the topic does not take, is left too, and counted in `passed_over`.

        Args:
            must_remember: send nothing that cannot be remembered as sent. Otherwise the next redrive sends it again,
                which the inbox makes harmless.

        Raises:
            TooScattered: see there; what was sent until then is remembered.
            KafkaError: no broker answers any more; what was sent until then is remembered.
        """
        outcome: dict[tuple[str, str], str] = {}
        first: dict[TopicPartition, int] = {}
        self.passed_over.clear()
        async with _clients(self._bootstrap_servers, self._group, self._partitions, self._onlooker) as (sender, keeper):
            async for letter in self.letters():
                place = _place(letter.record)
                first.setdefault(place, letter.record.offset)
                if letter.is_redriven or not chosen(letter):
                    continue
                after = self._redriven[place].with_one_more(letter.record.offset, first[place])
                commit = _commit(after, must_remember=must_remember)
                if (died_as := letter.died_as) not in outcome:
                    outcome[died_as] = letter.passed_over or await sender.send(letter.record)
                if why := outcome[died_as]:
                    self.passed_over[why] += 1
                elif commit is not None:
                    self._redriven[place] = after
                    await keeper.commit({place: commit})
        return sum(not why for why in outcome.values())

    async def redrive_one(self, partition: int, offset: int) -> None:
        """Send one letter's message back; the letters that other groups made of the same message count as sent too.

        Raises:
            NoSuchLetter: there is none.
            RedrivenAlready: it was sent before.
            PassedOver: it cannot be sent back, or the topic does not take it; the message says why.
            TooScattered: see there.
        """
        letter = await self.letter(partition, offset)
        if letter.is_redriven:
            raise RedrivenAlready
        if not await self.redrive(lambda other: other.died_as == letter.died_as, must_remember=True):
            raise PassedOver("; ".join(self.passed_over))


def _commit(redriven: Redriven, *, must_remember: bool) -> OffsetAndMetadata | None:
    """None where there is no room to remember it, and it need not be remembered."""
    try:
        return redriven.to_commit()
    except TooScattered:
        if must_remember:
            raise
        return None


def _place(record: Record) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


@asynccontextmanager
async def _clients(
    bootstrap_servers: str, group: str, partitions: list[TopicPartition], onlooker: Onlooker
) -> AsyncGenerator[tuple[Sender, AIOKafkaConsumer]]:
    """What sends, and what commits: it is given the partitions, joins nobody, and fetches nothing."""
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(Sender(bootstrap_servers, onlooker))
        keeper = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=group, enable_auto_commit=False)
        stack.push_async_callback(keeper.stop)
        await keeper.start()
        keeper.assign(partitions)
        keeper.pause(*partitions)
        yield sender, keeper
