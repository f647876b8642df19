"""Dead letters read and sent back one by one, and what is remembered of it."""

import pytest
from aiokafka.structs import OffsetAndMetadata

from chassis import kafka
from chassis.dead_letters import DeadLetters
from chassis.kafka import Producer
from chassis.redrive import DeadLetter, DeadLetterTopic, NoSuchLetter, RedrivenAlready
from chassis.redriven import Redriven, TooScattered
from chassis.settings import ServiceSettings
from chassis.tests.surroundings import Topic, event, send

GROUPS = ("a.group", "b.group")


@pytest.fixture
def dead(settings: ServiceSettings, topic: Topic) -> DeadLetterTopic:
    return DeadLetterTopic(settings.kafka_bootstrap_servers, topic.name)


@pytest.fixture
async def buried(topic: Topic, producer: Producer, settings: ServiceSettings) -> Topic:
    """Three messages, each given up by two groups; all of one order, so that they lie in one partition."""
    import asyncio

    dead_letters = DeadLetters(kafka.producer(settings, "dead"), asyncio.Event())
    await send(producer, topic, *(event("a", number) for number in (1, 2, 3)))
    for record in await topic.records():
        for group in GROUPS:
            await dead_letters.bury(record, group, f"{group} is unwell")
    await dead_letters.close()
    return topic


async def letters(dead: DeadLetterTopic) -> list[DeadLetter]:
    async with dead:
        return [letter async for letter in dead.letters()]


def waiting(found: list[DeadLetter]) -> list[bool]:
    return [not letter.is_redriven for letter in found]


async def test_dead_letters_say_how_they_died(dead: DeadLetterTopic, buried: Topic) -> None:
    """Each group's letter is one; who looks changes nothing."""
    found = await letters(dead)
    assert [letter.died()["group"] for letter in found] == [*GROUPS] * 3
    assert found[0].died()["reason"] == "a.group is unwell"
    assert [letter.topic for letter in found] == [buried.name] * 6
    assert waiting(await letters(dead)) == [True] * 6


async def test_a_topic_without_dead_letters_has_none(dead: DeadLetterTopic) -> None:
    async with dead:
        assert await dead.redrive() == 0
    assert await letters(dead) == []


async def test_one_letter_is_sent_back_once(dead: DeadLetterTopic, buried: Topic) -> None:
    """Its twin, which the other group made of the same message, counts as sent too; neither can be sent again."""
    first, twin, *_ = await letters(dead)
    async with dead:
        await dead.redrive_one(first.record.partition, first.record.offset)
    assert len(await buried.records()) == 4
    assert waiting(await letters(dead)) == [False, False, True, True, True, True]
    for letter in (first, twin):
        async with dead:
            with pytest.raises(RedrivenAlready):
                await dead.redrive_one(letter.record.partition, letter.record.offset)
    assert len(await buried.records()) == 4


async def test_what_was_sent_by_itself_is_not_sent_with_the_topic(dead: DeadLetterTopic, buried: Topic) -> None:
    """Also when it lies between others that wait: each message comes back once."""
    middle = (await letters(dead))[2]
    async with dead:
        await dead.redrive_one(middle.record.partition, middle.record.offset)
    assert waiting(await letters(dead)) == [True, True, False, False, True, True]
    async with dead:
        assert await dead.redrive() == 2
        assert await dead.redrive() == 0
    assert waiting(await letters(dead)) == [False] * 6
    sent = [(record.key, record.value) for record in await buried.records()]
    assert sorted(sent) == sorted(sent[:3] * 2)


async def test_there_is_no_letter_where_none_lies(dead: DeadLetterTopic, buried: Topic) -> None:
    async with dead:
        with pytest.raises(NoSuchLetter):
            await dead.redrive_one(0, 4711)
    assert len(await buried.records()) == 3


def test_neighbours_are_remembered_as_one() -> None:
    """A commit's metadata has few characters; what is before the committed offset needs none."""
    redriven = Redriven(OffsetAndMetadata(3, "5-6,9"))
    assert [offset for offset in range(11) if offset in redriven] == [0, 1, 2, 5, 6, 9]
    redriven.add(8, 0)
    assert redriven.to_commit() == OffsetAndMetadata(3, "5-6,8-9")
    redriven.add(3, 0)
    assert redriven.to_commit() == OffsetAndMetadata(4, "5-6,8-9")
    redriven.add(4, 0)
    assert redriven.to_commit() == OffsetAndMetadata(7, "8-9")
    redriven.add(7, 0)
    assert redriven.to_commit() == OffsetAndMetadata(10, "")


def test_what_the_broker_has_forgotten_needs_no_memory() -> None:
    """The oldest letters are deleted in time, whether they were sent back or not."""
    redriven = Redriven(OffsetAndMetadata(-1, ""))
    redriven.add(12, 10)
    assert redriven.to_commit() == OffsetAndMetadata(10, "12")
    redriven.add(15, 14)
    assert redriven.to_commit() == OffsetAndMetadata(14, "15")


def test_too_many_scattered_letters_are_refused_before_any_is_sent() -> None:
    redriven = Redriven(None)
    for offset in range(1, 4_000, 2):
        redriven.add(offset, 0)
    with pytest.raises(TooScattered):
        redriven.to_commit()
