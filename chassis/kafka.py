"""Kafka clients with the safe settings; the library's defaults are acks=1, auto-commit and latest."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from chassis import logs
from chassis.settings import ServiceSettings

log = logs.get(__name__)

# What a broker takes unless told otherwise is a little more. A larger message is refused here, before it gets a number.
MESSAGE_BYTES_MAX = 1_000_000


class Stopped(Exception):
    """The process is to stop, and what is in hand cannot be finished; it was not committed and comes again."""


@functools.lru_cache(maxsize=10_000)
def _partition_of(key: bytes, partitions: int) -> int:
    # The events of an aggregate follow each other, and while one waits it is asked for again and again.
    return DefaultPartitioner()(key, range(partitions), [])


class Producer:
    """An idempotent producer that is made anew when its numbering has a gap, or what it holds was given up.

    aiokafka numbers the messages of a batch before it knows that the broker takes them. One that was given up, for want
    of a leader while a broker restarts, or refused, leaves a gap; the broker then refuses whatever comes later
    (OutOfOrderSequenceNumber), and the library never begins a new numbering (aiokafka issue 1017). And it keeps what is
    not answered for as long as the broker is away, and sends it then, beside what was sent again meanwhile.
    """

    def __init__(self, make: Callable[[], AIOKafkaProducer]) -> None:
        self._make = make
        self.client = make()
        self._has_gap = False
        self._renewing = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self.client.start()

    async def stop(self) -> None:
        """Send what is in hand, and leave."""
        await self.client.stop()
        await asyncio.gather(*self._leaving)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, Any]] = (),
        timestamp_ms: int | None = None,
        partition: int | None = None,
    ) -> asyncio.Future[Any]:
        """Take a message for sending; the future is the broker's answer, which may never come: that means unknown.

        Args:
            timestamp_ms: the record's, since the epoch; now unless told. That of the answer is no use: the library
                gives every message of a batch the first one's.
            partition: the key's unless told.

        Raises:
            KafkaError: it was not taken.
        """
        await self.ready()
        client = self.client
        answer = asyncio.ensure_future(
            await client.send(topic, value, key=key, headers=headers, timestamp_ms=timestamp_ms, partition=partition)
        )

        def look_at(answered: asyncio.Future[Any]) -> None:
            if not answered.cancelled() and answered.exception() and client is self.client:
                self._has_gap = True

        answer.add_done_callback(look_at)
        return answer

    async def send_and_wait(
        self, topic: str, value: bytes | None, key: bytes | None = None, headers: Sequence[tuple[str, Any]] = ()
    ) -> Any:
        return await (await self.send(topic, value, key, headers))

    async def partition(self, topic: str, key: bytes) -> int:
        """Where a key goes, whether or not somebody leads that partition.

        Raises:
            KafkaError: the broker does not know the topic, or does not answer.
        """
        return _partition_of(key, len(await self.client.partitions_for(topic)))

    def has_leader(self, topic: str, partition: int) -> bool:
        """Whether somebody leads the partition, as far as the client knows."""
        return self.client.client.cluster.leader_for_partition(TopicPartition(topic, partition)) not in (None, -1)

    async def look_for_leaders(self, seconds_max: float) -> None:
        """Ask the broker anew who leads which partition, and wait for the answer, at most so long."""
        asked = self.client.client.force_metadata_update()
        await asyncio.wait([asked], timeout=seconds_max)

    def give_up(self) -> None:
        """Forget what was taken and not answered: it is to be sent again, and its wait is not over.

        What the broker was sent already may still arrive; that is why no answer means unknown.
        """
        self._has_gap = True
        # At once: as soon as the broker is back, it would send what it holds.
        self._leave(_drop(self.client))

    async def ready(self) -> None:
        """Begin a new numbering where one is needed.

        Raises:
            KafkaError: one is, and the broker does not answer.
        """
        async with self._renewing:
            if self._has_gap:
                await self._renew()

    async def _renew(self) -> None:
        other = self._make()
        try:
            await other.start()
            self.client, other = other, self.client
            self._has_gap = False
            log.warning("the producer begins a new numbering: the old one has a gap, or messages were given up")
        finally:
            # The one of the two that is not needed. The old one may still have messages to send, and take its time.
            self._leave(other.stop())

    def _leave(self, closing: Coroutine[Any, Any, None]) -> None:
        leaving = asyncio.create_task(closing)
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)


async def _drop(client: AIOKafkaProducer) -> None:
    """Close a client with all that it holds; its own `stop` would send that first."""
    sender: Any = client._sender  # pyright: ignore[reportPrivateUsage]
    client._closed = True  # pyright: ignore[reportPrivateUsage] - else it complains that nobody closed it
    await sender.close()
    await client.client.close()


def producer(settings: ServiceSettings, client_id: str, *, message_bytes_max: int = MESSAGE_BYTES_MAX) -> Producer:
    """An idempotent producer that waits for every in-sync replica."""
    return Producer(
        lambda: AIOKafkaProducer(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            client_id=client_id,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=2_000,
            max_request_size=message_bytes_max,
        )
    )


def consumer(settings: ServiceSettings, group: str) -> AIOKafkaConsumer:
    """A member of a group that commits offsets by hand and begins with the oldest message."""
    return AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        client_id=group,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # What a transaction wrote is applied once it is committed.
        isolation_level="read_committed",
        fetch_max_wait_ms=settings.kafka_fetch_max_wait_ms,
        session_timeout_ms=settings.kafka_session_timeout_ms,
        heartbeat_interval_ms=settings.kafka_session_timeout_ms // 3,
        max_poll_interval_ms=300_000,
        rebalance_timeout_ms=30_000,
        metadata_max_age_ms=30_000,
    )


async def start(start_client: Callable[[], Awaitable[None]], what: str, stopping: asyncio.Event) -> bool:
    """Start a client, again and again while the broker does not answer; False if the process is to stop first."""
    while not stopping.is_set():
        try:
            await start_client()
        except (KafkaError, OSError) as error:
            log.warning("the broker does not answer; trying again", what=what, error=repr(error))
            await wait(stopping, 1.0)
        else:
            return True
    return False


async def wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, at most so long; whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
