"""Dead letters and the way back."""

import asyncio

import pytest
from aiokafka import ConsumerRecord
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value

from chassis import kafka, messages, telemetry
from chassis.consumer import Consumer
from chassis.database import Database, Transaction
from chassis.dead_letters import DeadLetters
from chassis.kafka import Producer
from chassis.messages import Envelope
from chassis.redrive import DeadLetterTopic
from chassis.redrive_sender import REDRIVEN
from chassis.router import Handler, Subscription
from chassis.settings import ServiceSettings
from chassis.testing import eventually
from chassis.tests.surroundings import (
    OwnDatabase,
    Topic,
    all_done,
    effects,
    event,
    header,
    note_effect,
    running,
    send,
    settings_of_nowhere,
)


@pytest.fixture
async def dead_letters(settings: ServiceSettings, stopping: asyncio.Event) -> DeadLetters:
    return DeadLetters(kafka.producer(settings, "dead"), stopping)


async def test_a_redriven_message_is_what_it_was(
    topic: Topic,
    producer: Producer,
    dead_letters: DeadLetters,
    settings: ServiceSettings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Redrive sends a dead letter back under its event id, without the headers of its death, once, and says so."""
    with telemetry.span("create"):
        sent = event("a")
    await send(producer, topic, sent)
    [record] = await topic.records()
    await dead_letters.bury(record, "a.group", "because")
    [line] = [line for line in capsys.readouterr().out.splitlines() if "message is dead" in line]
    assert all(word in line for word in ("because", "order_id='a'", sent.trace.traceparent[3:35])), line
    await dead_letters.close()
    [dead] = await topic.dead.records()
    assert (header(dead, "dead_reason"), header(dead, "dead_group")) == ("because", "a.group")
    assert await redriven(settings, topic) == 1
    first, again = await topic.records()
    assert (again.key, again.value, again.headers) == (first.key, first.value, (*first.headers, (REDRIVEN, b"1")))
    assert messages.parse(again.headers, again.value).id == sent.id


async def test_a_dead_letter_that_cannot_be_written_stops_with_the_process(stopping: asyncio.Event) -> None:
    """Without a broker the message is neither lost nor passed: the process ends first, and it comes again."""
    dead_letters = DeadLetters(kafka.producer(settings_of_nowhere(), "dead"), stopping)
    record = ConsumerRecord[bytes, bytes]("a.events", 0, 7, 0, 0, b"a", b"", None, 0, 0, ())
    burying = asyncio.create_task(dead_letters.bury(record, "a.group", "because"))
    stopping.set()
    with pytest.raises(kafka.Stopped):
        async with asyncio.timeout(20):
            await burying
    await dead_letters.close()


async def test_redrive_ends_although_its_messages_die_again(
    database: Database,
    topic: Topic,
    producer: Producer,
    settings: ServiceSettings,
    stopping: asyncio.Event,
) -> None:
    """What died while redrive worked is left for the next one: a message that still cannot be handled is sent once."""

    async with running(member(database, settings, topic, stopping, fail, "a.group").run, stopping):
        await send(producer, topic, event("a"))
        await eventually(topic.dead.records)
        async with asyncio.timeout(10):
            assert await redriven(settings, topic) == 1
        await eventually(lambda: dead(topic, 2))
    assert len(await topic.records()) == 2


async def test_a_message_that_died_in_two_groups_is_redriven_once(
    database: Database,
    topic: Topic,
    producer: Producer,
    settings: ServiceSettings,
    stopping: asyncio.Event,
) -> None:
    """Each copy would die in both again, and every redrive double the dead."""

    one = member(database, settings, topic, stopping, fail, "one.group")
    other = member(database, settings, topic, stopping, fail, "other.group")
    async with running(one.run, stopping), running(other.run, stopping):
        for name in ("a", "b"):
            await send(producer, topic, event(name))
        await eventually(lambda: dead(topic, 4))
        assert await redriven(settings, topic) == 2
        await eventually(lambda: dead(topic, 8))
    assert len(await topic.records()) == 4


async def test_groups_that_had_applied_a_message_pass_over_it(
    database: Database,
    own_database: OwnDatabase,
    topic: Topic,
    producer: Producer,
    settings: ServiceSettings,
    stopping: asyncio.Event,
) -> None:
    """Redriven for the group that could not handle it, the message is known to the group that could."""
    failing = True

    async def handler(transaction: Transaction, event: Message, envelope: Envelope) -> None:
        if failing:
            raise LookupError
        await note_effect(transaction, event, envelope)

    weak = member(database, settings, topic, stopping, handler, "weak.group")
    strong = member(database, settings, topic, stopping, note_effect, "strong.group")
    async with running(weak.run, stopping), running(strong.run, stopping):
        await send(producer, topic, event("a"))
        await eventually(topic.dead.records)
        await all_done(database, 1)
        failing = False
        assert await redriven(settings, topic) == 1
        await all_done(database, 2)
        await send(producer, topic, event("b"))
        await all_done(database, 4)
    applied = await own_database.ask("SELECT consumer_group, count(*) FROM inbox GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in applied] == [("strong.group", 2), ("weak.group", 2)]
    assert [subject for subject, _ in await effects(database)].count("a") == 2


async def redriven(settings: ServiceSettings, topic: Topic) -> int:
    async with DeadLetterTopic(settings.kafka_bootstrap_servers, topic.name) as dead:
        return await dead.redrive()


async def fail(_transaction: Transaction, _event: Message, _envelope: Envelope) -> None:
    raise LookupError


async def dead(topic: Topic, count: int) -> bool:
    return len(await topic.dead.records()) == count


def member(
    database: Database,
    settings: ServiceSettings,
    topic: Topic,
    stopping: asyncio.Event,
    handler: Handler,
    group: str,
) -> Consumer:
    return Consumer(
        database,
        kafka.consumer(settings, f"{topic}.{group}"),
        Subscription(group, (topic.name,), {Int64Value: handler}),
        DeadLetters(kafka.producer(settings, "dead"), stopping),
        stopping=stopping,
        attempts_max=1,
    )
