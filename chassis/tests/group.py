"""A consumer group of one test, and handlers that fail or take locks."""

import asyncio
from collections import Counter
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, Int64Value

from chassis import kafka
from chassis.consumer import Consumer
from chassis.database import Database, Sql, Transaction
from chassis.dead_letters import DeadLetters
from chassis.messages import Envelope
from chassis.router import Handler, Subscription
from chassis.settings import ServiceSettings
from chassis.tests.surroundings import Topic, note_effect

LOCK_EFFECT = Sql("SELECT effects", "SELECT number FROM effects WHERE subject = :subject AND sequence = 0 FOR UPDATE")


class Group:
    """A consumer group of one test, whose members can be made one after the other."""

    def __init__(self, database: Database, settings: ServiceSettings, topic: Topic, stopping: asyncio.Event) -> None:
        self.name = f"{topic}.group"
        self._database, self._settings, self._topic, self._stopping = database, settings, topic, stopping

    def member(self, handler: Handler = note_effect, **options: Any) -> Consumer:
        return Consumer(
            self._database,
            kafka.consumer(self._settings, self.name),
            Subscription(self.name, (self._topic.name,), {Int64Value: handler}, ignored=(BoolValue,)),
            DeadLetters(kafka.producer(self._settings, "dead"), self._stopping),
            stopping=self._stopping,
            **options,
        )

    async def committed(self) -> int:
        """How many messages the group's offsets say are done."""
        client = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers,
            group_id=self.name,
            isolation_level="read_committed",
        )
        await client.start()
        try:
            partitions = [TopicPartition(self._topic.name, number) for number in range(4)]
            return sum([await client.committed(partition) or 0 for partition in partitions])
        finally:
            await client.stop()


class Failing:
    """A handler that fails for some subjects, so often, and counts what it was asked."""

    def __init__(self, **failures: int) -> None:
        self._failures = failures
        self.calls: Counter[str] = Counter()

    async def handle(self, transaction: Transaction, event: Message, envelope: Envelope) -> None:
        self.calls[envelope.subject] += 1
        await note_effect(transaction, event, envelope)
        if self.calls[envelope.subject] <= self._failures.get(envelope.subject, 0):
            raise LookupError("cannot be handled")


async def lock_and_note(transaction: Transaction, event: Message, envelope: Envelope) -> None:
    """The handler of the small domain, that locks its aggregate's row first: the effect 0, if there is one."""
    await transaction.all(LOCK_EFFECT, subject=envelope.subject)
    await note_effect(transaction, event, envelope)
