"""Something is sick, and the others keep their pace: 20 orders a second, of which nine in ten are through at any time.

For a few seconds here; `make pace` does it for a minute each.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value

from chassis.database import Database, Sql, Transaction
from chassis.kafka import Producer
from chassis.messages import Envelope
from chassis.settings import ServiceSettings
from chassis.testing import eventually
from chassis.tests.group import LOCK_EFFECT, Group
from chassis.tests.surroundings import Topic, effects, event, note_effect, running, send

pytestmark = pytest.mark.parametrize("containers", ["embedded"], indirect=True)

SECONDS = float(os.environ.get("PACE_SECONDS", "3"))
ORDERS_PER_SECOND = 20
PACE_MIN = 0.9
# What the last ones may take on a busy machine; the lock, or the failing handler, stays as it is meanwhile.
GRACE_SECONDS_MAX = 3.0
PATIENT = Sql("SELECT set_config", "SELECT set_config('idle_in_transaction_session_timeout', '0', true)")
SLEEP = Sql("SELECT pg_sleep", "SELECT pg_sleep(60)")


def locks(subject: str) -> list[str]:
    """The rows that an aggregate's handler locks, in that order: one that everybody needs, where there is one, and then
    its own, or the shelf that all of a kind share."""
    return ["counter", "shelf" if subject.startswith("shelf") else subject]


async def handle(transaction: Transaction, event: Message, envelope: Envelope) -> None:
    """Locks a row, as every handler does, fails, or takes its time."""
    subject = envelope.subject
    for row in locks(subject):
        await transaction.all(LOCK_EFFECT, subject=row)
    if subject.startswith("failing"):
        raise LookupError
    if subject.startswith("slow"):
        await transaction.all(SLEEP)
    await note_effect(transaction, event, envelope)


@asynccontextmanager
async def locked(database: Database, rows: Sequence[str]) -> AsyncGenerator[None]:
    async with database.transaction() as first:
        for row in rows:
            await note_effect(first, Int64Value(), event(row, 0))
    async with AsyncExitStack() as stack:
        # One session each, as people at psql have; the counter is there, and free.
        for row in set(rows) - {"counter"}:
            other = await stack.enter_async_context(database.transaction())
            await other.all(PATIENT)
            await other.all(LOCK_EFFECT, subject=row)
        yield


async def at_pace(act: Callable[[int], Coroutine[Any, Any, None]]) -> int:
    """Act so often a second, for so long, whatever an act takes; returns how often it was."""
    loop, acts = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    began, number = loop.time(), 0
    while (due := began + number / ORDERS_PER_SECOND) < began + SECONDS:
        await asyncio.sleep(due - loop.time())
        acts.add(asyncio.create_task(act(number)))
        number += 1
    await asyncio.gather(*acts)
    return number


@pytest.mark.parametrize(
    ("rows", "sick"),
    [
        (["locked-0"], ["locked-0"]),
        ([f"locked-{row}" for row in range(5)], [f"locked-{row}" for row in range(5)]),
        (["shelf"], [f"shelf-{number}" for number in range(1_000)]),
        (["locked-0", "counter"], ["locked-0"]),
        ([], [f"failing-{number}" for number in range(3)]),
        ([], ["slow"]),
    ],
    ids=["one row", "five rows", "a row that many need", "a row behind one that all need", "a handler fails", "no end"],
)
async def test_the_others_keep_their_pace(
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    group: Group,
    settings: ServiceSettings,
    rows: list[str],
    sick: list[str],
) -> None:
    """One event in five is for what is sick; what was locked comes through afterwards, in its order."""
    somebody = Database(settings.database_url)
    sequences = count(1)

    async def place(number: int) -> None:
        await send(producer, topic, event(f"well-{number}"))
        if number % 5 == 0:
            await send(producer, topic, event(sick[number // 5 % len(sick)], next(sequences)))

    async with running(group.member(handle).run, stopping):
        await send(producer, topic, event("first"))
        await eventually(lambda: done(database, "first"))
        async with locked(somebody, rows):
            placed = await at_pace(place)
            await eventually(lambda: all_of(database, "well", int(PACE_MIN * placed)), seconds_max=GRACE_SECONDS_MAX)
        if rows:
            await eventually(lambda: all_of(database, rows[0].split("-")[0], placed // 5), seconds_max=30)
    await somebody.close()
    for subject in {subject for subject, _ in await effects(database)}:
        found = [sequence for each, sequence in await effects(database) if each == subject]
        assert found == sorted(found)


async def done(database: Database, prefix: str) -> list[str]:
    return [subject for subject, sequence in await effects(database) if subject.startswith(prefix) and sequence]


async def all_of(database: Database, prefix: str, number: int) -> bool:
    return len(await done(database, prefix)) >= number
