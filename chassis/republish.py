"""Events told once more, under their ids, at a pace that keeps no other event waiting.

    rows of an outbox ─▶ a batch to Kafka ─▶ each group has taken it ─▶ the next; larger or smaller, as that was quick

Groups that have applied an event know it by its id and pass over it; one that never heard it applies it now, late.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer, TopicPartition

from chassis import messages
from chassis.kafka import MESSAGE_BYTES_MAX
from chassis.messages import Envelope
from chassis.onlooker import Onlooker

# An event of today comes behind a batch at the worst, so it waits for as long as the groups work at one. They say what
# they have taken once a second, and before they say it they wait for more: a second goes by with a batch of any size,
# and what goes by beyond it is the work. Batches grow by a half while that is little, so none is far too large.
QUICK_SECONDS, SLOW_SECONDS = 1.4, 1.8
BATCH_MIN, BATCH_MAX = 50, 400
# Then it goes on by the smallest batches: a group that is away, or waits for a single key, takes nothing for long.
TAKEN_SECONDS_MAX = 5.0
POLL_SECONDS = 0.1


class Republisher:
    """`async with Republisher("127.0.0.1:9092", ["order.saga"]) as again: await again.send("payment.events", events)`

    Args:
        groups: whoever hears the topics; none of them is to be kept waiting.

    Entering it, and sending, raises KafkaError where no broker answers.
    """

    def __init__(self, bootstrap_servers: str, groups: Collection[str]) -> None:
        self._bootstrap_servers, self._groups = bootstrap_servers, groups
        self.batch = BATCH_MIN

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._onlooker = await stack.enter_async_context(Onlooker(self._bootstrap_servers))
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap_servers,
                acks="all",
                enable_idempotence=True,
                max_request_size=MESSAGE_BYTES_MAX,
            )
            stack.push_async_callback(self._producer.stop)
            await self._producer.start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def send(self, topic: str, events: Sequence[Envelope]) -> bool:
        """Send at most `batch` events, in their order; returns when the groups have taken them, or do not for long.

        `batch` is what the next call should bring.

        Returns:
            Whether they were taken.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        ends = await self._sent(topic, events)
        while missing := await self._missing(ends):
            if loop.time() - began > TAKEN_SECONDS_MAX:
                break
            await asyncio.sleep(POLL_SECONDS)
        seconds = loop.time() - began
        if missing:
            self.batch = BATCH_MIN
        elif seconds <= QUICK_SECONDS:
            self.batch = min(BATCH_MAX, self.batch * 3 // 2)
        elif seconds > SLOW_SECONDS:
            self.batch = max(BATCH_MIN, self.batch // 2)
        return not missing

    async def _sent(self, topic: str, events: Sequence[Envelope]) -> Mapping[TopicPartition, int]:
        """Where each partition goes on behind them, once Kafka has them all."""
        answers = [
            await self._producer.send(topic, event.payload, key=event.key, headers=messages.headers(event))
            for event in events
        ]
        ends: dict[TopicPartition, int] = {}
        for sent in await asyncio.gather(*answers):
            place = TopicPartition(sent.topic, sent.partition)
            ends[place] = max(ends.get(place, 0), sent.offset + 1)
        return ends

    async def _missing(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Whether a group has not said that it has taken all of them."""
        for group in self._groups:
            committed = await self._onlooker.committed(group, list(ends))
            if any(committed[place].offset < end for place, end in ends.items()):
                return True
        return False
