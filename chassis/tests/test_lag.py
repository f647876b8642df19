"""The lag that a consumer reports: what its group has not applied, of the partitions that are its own."""

import asyncio

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value

from chassis import kafka
from chassis.consumer import Consumer
from chassis.database import Database, Transaction
from chassis.dead_letters import DeadLetters
from chassis.kafka import Producer
from chassis.messages import Envelope
from chassis.router import Subscription
from chassis.settings import ServiceSettings
from chassis.testing import eventually, figure
from chassis.tests.surroundings import Topic, event, running, send


async def test_the_message_in_hand_is_lag_and_a_partition_that_moved_is_not(
    database: Database, topic: Topic, producer: Producer, settings: ServiceSettings, stopping: asyncio.Event
) -> None:
    """A first message that cannot be applied is seen; of what another member has taken over nothing is claimed."""
    works, may_end = asyncio.Event(), asyncio.Event()

    async def handler(transaction: Transaction, event: Message, envelope: Envelope) -> None:
        works.set()
        await may_end.wait()

    def lag() -> float | None:
        return figure("shop.consumer.lag", topic=topic.name)

    figure("shop.consumer.lag")
    member = Consumer(
        database,
        kafka.consumer(settings, f"{topic}.group"),
        Subscription(f"{topic}.group", (topic.name,), {Int64Value: handler}),
        DeadLetters(kafka.producer(settings, "dead"), stopping),
        stopping=stopping,
    )
    assert figure("shop.dead_letters", topic=topic.name) == 0
    await send(producer, topic, event("a", 1))
    async with running(member.run, stopping):
        await works.wait()
        assert lag() == 1
        may_end.set()
        await eventually(lambda: lag() == 0)
        await member.settle()
        assert lag() is None
