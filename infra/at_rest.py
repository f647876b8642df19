"""Whether the shop is at rest: nothing is under way, so that a figure which is read now is still the same later.

unread events ─▶ pending orders ─▶ held goods ─▶ what cancelled orders are owed ─▶ unread events ─▶ at rest

Only Kafka and the REST API are asked, as anybody could: the gauges of /metrics are up to five seconds old.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from infra.kafka.topics import EVENTS
from infra.owed import owed
from infra.system import System

POLL_SECONDS = 0.1
REST_SECONDS_MAX = 60.0
ANSWER_SECONDS_MAX = 5.0
# Which consumer group hears which topics; it commits its offsets within a second or two of having applied the messages.
HEARD = {
    "order.saga": ("inventory.events", "payment.events"),
    "payment.refunds": ("order.events",),
    "inventory.shipping": ("order.events",),
}

Json = dict[str, Any]


class NotAtRest(Exception):
    """Something in the shop still moves; the message says what."""


async def at_rest(system: System, seconds_max: float = REST_SECONDS_MAX) -> None:
    """Returns once every order has ended and what follows its end is done: shipping, refunds, their events.

    Raises:
        NotAtRest: that takes longer than `seconds_max`, and the look that is under way then.
    """
    ends_at = time.monotonic() + seconds_max
    url = system.gateway_url
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_SECONDS_MAX, trust_env=False) as gateway:
        look = _Look(gateway, system.kafka)
        # No look is interrupted: a Kafka client that is cancelled while it connects leaves its connection open.
        while moving := await look.what_moves():
            if time.monotonic() > ends_at:
                raise NotAtRest(f"the shop is not at rest after {seconds_max:g} s: {'; '.join(moving)}")
            await asyncio.sleep(POLL_SECONDS)


class _Look:
    """Looks at everything that can move."""

    def __init__(self, gateway: httpx.AsyncClient, kafka: str) -> None:
        self._gateway, self._kafka = gateway, kafka

    async def what_moves(self) -> list[str]:
        """The first kind of movement that is found, as sentences; nothing at rest.

        An order moves through the three questions in the middle in their order and never back. Kafka is asked before
        them because that costs the shop nothing, and after them about what was sent meanwhile.
        """
        try:
            for question in (self._unread, self._pending, self._held, self._not_undone, self._unread):
                if moving := [movement async for movement in question()]:
                    return moving
        except httpx.TransportError as error:
            return [f"the gateway does not answer: {error!r}"]
        except httpx.HTTPStatusError as error:
            return [f"GET {error.request.url.path}: {error.response.status_code} {error.response.text}"]
        except KafkaError as error:
            return [f"Kafka does not answer: {error!r}"]
        return []

    async def _unread(self) -> AsyncIterator[str]:
        async with _kafka_clients(self._kafka) as (admin, consumer):
            partitions = [
                TopicPartition(topic["topic"], partition["partition"])
                for topic in await admin.describe_topics(list(EVENTS))
                for partition in topic["partitions"]
            ]
            ends = await consumer.end_offsets(partitions)
            for group, topics in HEARD.items():
                heard = [partition for partition in partitions if partition.topic in topics]
                committed = await admin.list_consumer_group_offsets(group, partitions=heard)
                for partition in heard:
                    # -1 where nothing is committed; nothing at all while the broker loads the group's offsets.
                    offset = max(0, committed[partition].offset) if partition in committed else 0
                    if ends[partition] > offset:
                        yield f"{group} has {ends[partition] - offset} of {partition.topic} to read"

    async def _pending(self) -> AsyncIterator[str]:
        for order in (await self._get("/v1/orders", status="PENDING"))["orders"]:
            yield f"order {order['orderId']} is PENDING"

    async def _held(self) -> AsyncIterator[str]:
        async for page in self._pages("/v1/stock"):
            for item in page["items"]:
                if int(item["held"]):
                    yield f"{item['held']} of {item['sku']} are held"

    async def _not_undone(self) -> AsyncIterator[str]:
        async for page in self._pages("/v1/orders", status="CANCELLED"):
            paths = [f"/v1/orders/{order['orderId']}/timeline" for order in page["orders"]]
            for order, timeline in zip(page["orders"], await asyncio.gather(*map(self._get, paths)), strict=True):
                for done in owed(timeline["entries"]):
                    yield f"order {order['orderId']} is CANCELLED, but its {done} is not undone"

    async def _pages(self, path: str, **query: str) -> AsyncIterator[Json]:
        token = ""
        while True:
            page = await self._get(path, **query, page_token=token)
            yield page
            if not (token := page["nextPageToken"]):
                return

    async def _get(self, path: str, **query: str) -> Json:
        response = await self._gateway.get(path, params=query)
        response.raise_for_status()
        return response.json()


@asynccontextmanager
async def _kafka_clients(bootstrap_servers: str) -> AsyncGenerator[tuple[AIOKafkaAdminClient, AIOKafkaConsumer]]:
    """New for each look: a client that has lost its broker is not sure to find it again in time."""
    async with AsyncExitStack() as stack:
        patience_ms = int(1000 * ANSWER_SECONDS_MAX)
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=patience_ms)
        stack.push_async_callback(admin.close)
        await admin.start()
        # It asks for one topic's leader after the other, and pauses for this long before it looks at the answer.
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            request_timeout_ms=patience_ms,
            retry_backoff_ms=10,
            isolation_level="read_committed",
        )
        stack.push_async_callback(consumer.stop)
        await consumer.start()
        yield admin, consumer
