"""The inbox: a group applies each message once, however often and by however many members it is received."""

import asyncio
from uuid import UUID

from uuid_utils.compat import uuid7

from chassis import inbox
from chassis.database import Database, Transaction
from chassis.testing import Spans
from chassis.tests.surroundings import OwnDatabase


async def test_only_what_was_not_noted_before_is_new(database: Database) -> None:
    """Of a batch, the messages that the group has noted are left out."""
    first, second, third = uuid7(), uuid7(), uuid7()
    assert await database.unit_of_work(inbox.note, "group", [first, second]) == {first, second}
    assert await database.unit_of_work(inbox.note, "group", [second, third]) == {third}


async def test_a_batch_is_noted_in_one_statement(database: Database, spans: Spans) -> None:
    """However many messages share a transaction, the inbox costs one round trip."""
    await database.unit_of_work(inbox.note, "group", [uuid7() for _ in range(50)])
    assert len(spans.named("INSERT inbox")) == 1


async def test_each_group_applies_a_message_for_itself(database: Database) -> None:
    """The key is group and message: one group's work is not the other's."""
    message = uuid7()
    assert await database.unit_of_work(inbox.note, "order.saga", [message]) == {message}
    assert await database.unit_of_work(inbox.note, "payment.refunds", [message]) == {message}


async def test_a_note_vanishes_with_its_transaction(database: Database) -> None:
    """What was rolled back was not applied, so the next delivery is new."""
    message = uuid7()

    async def fail(transaction: Transaction) -> None:
        await inbox.note(transaction, "group", [message])
        raise LookupError

    await asyncio.gather(database.unit_of_work(fail), return_exceptions=True)
    assert await database.unit_of_work(inbox.note, "group", [message]) == {message}


async def test_of_two_members_that_receive_a_message_at_once_one_applies_it(
    database: Database, own_database: OwnDatabase
) -> None:
    """The second one waits for the first one's end: after a commit it passes over, after a rollback it applies."""
    for committed in (True, False):
        message = uuid7()
        noted, may_end = asyncio.Event(), asyncio.Event()

        async def first(
            transaction: Transaction,
            message: UUID = message,
            committed: bool = committed,
            noted: asyncio.Event = noted,
            may_end: asyncio.Event = may_end,
        ) -> set[UUID]:
            new = await inbox.note(transaction, "group", [message])
            noted.set()
            await may_end.wait()
            if not committed:
                raise LookupError
            return new

        one = asyncio.create_task(database.unit_of_work(first))
        await noted.wait()
        other = asyncio.create_task(database.unit_of_work(inbox.note, "group", [message]))
        while not await own_database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not other.done()
        may_end.set()
        results = await asyncio.gather(one, other, return_exceptions=True)
        assert results.count({message}) == 1
        assert other.result() == (set() if committed else {message})


async def test_two_members_with_the_same_batch_do_not_lock_each_other_out(database: Database) -> None:
    """Messages are noted in one order, whatever the order they came in, so that nobody waits in a circle."""
    batch = [uuid7() for _ in range(200)]
    members = (database.unit_of_work(inbox.note, "group", batch if number % 2 else batch[::-1]) for number in range(6))
    applied = await asyncio.gather(*members)
    assert sorted(message for new in applied for message in new) == batch
