"""Kafka clients with the safe settings; the library's defaults are acks=1, auto-commit and latest."""

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from chassis import logs
from chassis.settings import ServiceSettings

log = logs.get(__name__)


class Stopped(Exception):
    """The process is to stop, and what is in hand cannot be finished; it was not committed and comes again."""


def producer(settings: ServiceSettings, client_id: str) -> AIOKafkaProducer:
    """An idempotent producer that waits for every in-sync replica."""
    return AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        request_timeout_ms=5_000,
        max_request_size=1_000_000,
    )


def consumer(settings: ServiceSettings, group: str) -> AIOKafkaConsumer:
    """A member of a group that commits offsets by hand and begins with the oldest message."""
    return AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        client_id=group,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
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
