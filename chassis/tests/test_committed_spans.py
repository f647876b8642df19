"""What a trace tells of an attempt whose COMMIT got no answer: everything, marked; of one that failed: nothing."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from google.protobuf.wrappers_pb2 import Int64Value
from pydantic import SecretStr

from chassis import outbox, telemetry
from chassis.committed_spans import OUTCOME, UNKNOWN
from chassis.database import Database, Sql, Transaction, is_transient
from chassis.kafka import Producer
from chassis.relay import Relay
from chassis.settings import ServiceSettings
from chassis.testing import Spans, attributes, eventually, is_child, served
from chassis.tests.commit_cut import CommitCut, Cut
from chassis.tests.group import Group
from chassis.tests.surroundings import OwnDatabase, Server, Topic, effects, event, running, send

NOTE = Sql("INSERT effects", "INSERT INTO effects (subject, sequence) VALUES (:subject, 1)")


@pytest.fixture
async def cut(postgres: Server) -> AsyncIterator[CommitCut]:
    yield CommitCut(postgres.port)


@pytest.fixture
async def cut_off(cut: CommitCut, own_database: OwnDatabase, database: Database) -> AsyncIterator[Database]:
    """The same database as `database`, through the port that cuts."""
    async with cut.listening() as port:
        url = own_database.url.get_secret_value()
        opened = Database(SecretStr(f"{url.rpartition(':')[0]}:{port}/{OwnDatabase.NAME}"), 2)
        yield opened
        await opened.close()


async def place(transaction: Transaction, topic: Topic, subject: str) -> None:
    """As placing an order does: a row, unless it is there, and the event that tells of it."""
    if not await transaction.all(
        Sql("SELECT effects", "SELECT FROM effects WHERE subject = :subject"), subject=subject
    ):
        await transaction.run(NOTE, subject=subject)
        outbox.publish(transaction, topic.name, Int64Value(value=1), subject=subject, sequence=1)


@pytest.mark.parametrize(
    ("cuts", "committed"), [("before the server has it", False), ("after the server has done it", True)]
)
async def test_the_spans_of_an_attempt_whose_commit_got_no_answer_are_exported_and_say_so(
    cut: CommitCut, cut_off: Database, database: Database, topic: Topic, spans: Spans, cuts: Cut, committed: bool
) -> None:
    """Committed or not, nobody knows it: the retry finds its work done, or does it, with a `create` of its own."""
    cut.cuts = cuts
    with pytest.raises(Exception) as failed:
        await served(cut_off, place, topic, "a")
    assert is_transient(failed.value)
    assert await effects(database) == ([("a", 1)] if committed else [])
    first, attempt = spans.one(f"create {topic} Int64Value"), spans.one("place")
    assert is_child(first, attempt)
    marked = {span.name for span in spans.all() if attributes(span).get(OUTCOME) == UNKNOWN}
    assert marked == {"SELECT effects", "INSERT effects", first.name}
    await served(cut_off, place, topic, "a")
    created = spans.named(first.name)
    assert len(created) == (1 if committed else 2)
    assert [OUTCOME in attributes(span) for span in created] == [True, False][: len(created)]


async def test_what_is_told_of_a_lost_commit_that_counted_has_its_parent(
    cut: CommitCut,
    cut_off: Database,
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    spans: Spans,
) -> None:
    """The relay's `send` hangs below the `create` whose attempt got no answer."""
    cut.cuts = "after the server has done it"
    with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
        await served(cut_off, place, topic, "a")
    await Relay(database, producer, source="test", stopping=stopping).round()
    assert is_child(spans.one(f"send {topic} Int64Value"), spans.one(f"create {topic} Int64Value"))


async def test_a_rollback_that_is_reported_at_the_commit_drops_the_spans(
    database: Database, own_database: OwnDatabase, spans: Spans
) -> None:
    """The server has answered, with an error: nothing was committed, and nothing is told."""
    await own_database.ask("ALTER TABLE effects ADD CONSTRAINT late UNIQUE (subject) DEFERRABLE INITIALLY DEFERRED")

    async def note_twice(transaction: Transaction) -> None:
        await transaction.run(NOTE, subject="a")
        await transaction.run(NOTE, subject="a")

    try:
        with pytest.raises(asyncpg.UniqueViolationError):
            await served(database, note_twice)
    finally:
        await own_database.ask("ALTER TABLE effects DROP CONSTRAINT late")
    assert [span.name for span in spans.all()] == ["note_twice"]


async def test_a_session_that_is_ended_before_its_commit_drops_the_spans(
    database: Database, own_database: OwnDatabase, spans: Spans
) -> None:
    """A connection that is lost at a statement before COMMIT is a rollback for sure."""

    async def note_and_lose(transaction: Transaction) -> None:
        await transaction.run(NOTE, subject="a")
        await own_database.end_sessions()
        await transaction.run(NOTE, subject="b")

    with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
        await served(database, note_and_lose)
    assert [span.name for span in spans.all()] == ["note_and_lose"]


async def test_a_message_whose_commit_got_no_answer_has_its_process_span(
    cut: CommitCut,
    cut_off: Database,
    settings: ServiceSettings,
    database: Database,
    topic: Topic,
    producer: Producer,
    stopping: asyncio.Event,
    spans: Spans,
) -> None:
    """The one that got no answer says that it has applied the message, perhaps; the next finds it applied."""
    cut.cuts = "after the server has done it"
    with telemetry.span("born"):
        sent = event("a")
    await send(producer, topic, sent)
    member = Group(cut_off, settings, topic, stopping).member()
    processed = f"process {topic} Int64Value"
    async with running(member.run, stopping):
        await eventually(lambda: len(spans.named(processed)) == 2, seconds_max=20)
    assert await effects(database) == [("a", 1)]
    told = [(attributes(span).get(OUTCOME), attributes(span)["shop.inbox.outcome"]) for span in spans.named(processed)]
    assert told == [(UNKNOWN, "applied"), (None, "duplicate")]
    assert is_child(spans.named("INSERT effects")[0], spans.named(processed)[0])
