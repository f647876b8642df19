"""The consumer where one partition has no leader: the others are read, also by a member that joins meanwhile."""

import asyncio

import pytest

from chassis.database import Database
from chassis.kafka import Producer
from chassis.testing import eventually
from chassis.tests.group import Group
from chassis.tests.surroundings import Topic, effects, event, running, send
from chassis.tests.test_relay_partitions import SICK, leaderless, subjects_of
from conftest import Broker

pytestmark = pytest.mark.parametrize("containers", ["embedded"], indirect=True)


@pytest.mark.parametrize("when", ["before it joins", "while it reads"])
async def test_a_partition_without_a_leader_holds_up_no_other(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    broker: Broker,
    when: str,
) -> None:
    """What is on the other partitions is applied soon; what is on the sick one, when it is led again."""
    [sick] = await subjects_of(producer, topic, 1, prefix="sick", sick=True)
    well = await subjects_of(producer, topic, 5, prefix="well", sick=False)
    member = group.member()
    if when == "while it reads":
        await send(producer, topic, event(sick, 1))
        async with running(member.run, stopping):
            await eventually(lambda: applied(database, sick, 1))
            async with leaderless(broker, topic):
                await others_go_on(database, topic, producer, well)
            await send(producer, topic, event(sick, 2))
            await eventually(lambda: applied(database, sick, 2))
    else:
        await send(producer, topic, event(sick, 1), event(sick, 2))
        async with leaderless(broker, topic), running(member.run, stopping):
            await others_go_on(database, topic, producer, well)
            assert not await applied(database, sick, 1)
            broker.give_leader(topic.name, SICK)
            await eventually(lambda: applied(database, sick, 2))


async def others_go_on(database: Database, topic: Topic, producer: Producer, subjects: list[str]) -> None:
    for sequence in range(1, 4):
        for subject in subjects:
            await send(producer, topic, event(subject, sequence))
            await eventually(
                lambda subject=subject, sequence=sequence: applied(database, subject, sequence), seconds_max=3
            )


async def applied(database: Database, subject: str, sequence: int) -> bool:
    return (subject, sequence) in await effects(database)
