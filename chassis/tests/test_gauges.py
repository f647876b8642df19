"""Figures cost the same however much is stored and waits, and one that fails takes no other with it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from chassis import dispatcher, gauges, relay, retention
from chassis.database import Database, Sql
from chassis.gauges import COUNTED_MAX, Figure, Gauges
from chassis.testing import eventually, figure
from chassis.tests.plans import ROWS, own_tables, planned_when_empty
from chassis.tests.surroundings import OwnDatabase

FIGURES = {**gauges.OUTBOX, **gauges.COMMAND_OUTBOX}
# A row of a waiting event, and one of a command that is due in an hour.
FILL = (
    f"""
    INSERT INTO outbox (id, topic, subject, sequence, type, payload, traceparent, tracestate)
    SELECT gen_random_uuid(), 'a.events', n::text, 1, 'a.B', repeat('x', 100)::bytea, repeat('t', 55), ''
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO command_outbox (id, saga_id, step, direction, method, payload, traceparent, tracestate, next_attempt_at)
    SELECT gen_random_uuid(), n::text, 'reserve_stock', 'forward', '/a.B/C', repeat('x', 100)::bytea, repeat('t', 55),
           '', clock_timestamp() + interval '1 hour'
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"INSERT INTO inbox SELECT 'g', gen_random_uuid(), clock_timestamp() FROM generate_series(1, {ROWS})",
)
TABLES = ("outbox", "command_outbox", "inbox")
NOBODY = "00000000-0000-0000-0000-000000000000"
# What loops ask again and again: of the relay only whether, and what, it takes.
POLLS: Mapping[str, tuple[Sql, Mapping[str, Any]]] = {
    "claim commands": (
        dispatcher.claim(1),
        {"delivered": [], "claim_seconds": 5.0, "targets": ["a.B"], "rooms": [32], "gone": []},
    ),
    "prune the outbox": (retention._PRUNE_OUTBOX, {"seconds": 3600.0}),  # pyright: ignore[reportPrivateUsage]
    "prune the inbox": (retention._PRUNE_INBOX, {"seconds": 3600.0}),  # pyright: ignore[reportPrivateUsage]
    "take events": (
        relay._TAKE,  # pyright: ignore[reportPrivateUsage]
        {"holder": NOBODY, "lease_seconds": 3.5, "batch_max": 500, "after": ""},
    ),
    "mark events": (relay._MARK, {"ids": [], "holder": NOBODY, "fence": 1}),  # pyright: ignore[reportPrivateUsage]
}
STATEMENTS = {
    **{name: (Sql(name, one.query), one.parameters) for name, one in FIGURES.items()},
    **POLLS,
}


@pytest.fixture
async def neglected(database: Database, own_database: OwnDatabase) -> AsyncIterator[OwnDatabase]:
    """Nobody gathers statistics, and what is deleted stays where it was."""
    await own_tables(own_database.ask, *TABLES)
    yield own_database
    for table in TABLES:
        await own_database.ask(f"ALTER TABLE {table} RESET (autovacuum_enabled)")
    await own_database.empty()


async def test_what_waits_is_counted_and_polled_by_an_index_however_much_it_is(
    database: Database, neglected: OwnDatabase
) -> None:
    """Planned on empty tables, and no statistics since."""
    async with planned_when_empty(database, STATEMENTS) as session:
        for fill in FILL:
            await neglected.ask(fill)
        done = {name: await session.explain(name) for name in STATEMENTS}
    assert {name: one for name, one in done.items() if one.rows > COUNTED_MAX or one.pages > 2_000} == {}
    assert {name: done[name] for name in FIGURES if not done[name].is_index_only} == {}
    # The oldest, the first that is due, the first that is old enough, whether there is one.
    first = {name: one for name, one in done.items() if "backlog" not in name or name.endswith("age_seconds")}
    assert {
        name: one for name, one in first.items() if name != "take events" and (one.rows > 1 or one.pages > 50)
    } == {}


async def test_what_waited_once_is_not_looked_for_in_the_whole_table(
    database: Database, neglected: OwnDatabase
) -> None:
    """The statistics are of a time when everything waited, and nothing does."""
    await neglected.ask(FILL[0])
    await neglected.ask("ANALYZE outbox")
    await neglected.ask("UPDATE outbox SET published_at = clock_timestamp()")
    await neglected.ask("VACUUM outbox")
    async with planned_when_empty(database, STATEMENTS) as session:
        done = {name: await session.explain(name) for name in STATEMENTS}
    assert {name: one for name, one in done.items() if one.rows > 1 or one.pages > 50 or "Seq Scan" in one.nodes} == {}


async def test_a_backlog_is_counted_so_far_and_no_further(
    database: Database, own_database: OwnDatabase, stopping: asyncio.Event
) -> None:
    """Whoever reads the figure is told so where it is described."""
    await own_database.ask(FILL[0].replace(str(ROWS), str(COUNTED_MAX + 1)))
    figures = await Gauges(database, gauges.OUTBOX, stopping=stopping).measure()
    assert figures["shop.outbox.backlog"] == COUNTED_MAX
    assert "counted to 10,000 and no further" in gauges.OUTBOX["shop.outbox.backlog"].description


async def test_a_figure_that_fails_leaves_the_others_alone(database: Database, stopping: asyncio.Event) -> None:
    """A table that is not there, and a statement that is ended: the others are measured, before and behind them."""
    slow = Figure("SELECT 1 FROM pg_sleep(60)", "It takes its time.")
    missing = Figure("SELECT count(*) FROM nowhere", "It cannot be had.")
    one, two = Figure("SELECT 1", "It is one."), Figure("SELECT 2", "It is two.")
    figures = {"shop.test.one": one, "shop.test.slow": slow, "shop.test.missing": missing, "shop.test.two": two}
    measured = Gauges(database, figures, stopping=stopping)
    measured.values["shop.test.slow"] = 7.0
    measuring = asyncio.create_task(measured.measure())

    async def ended() -> bool:
        async with database.single() as once:
            return bool(await once.all(_END_SLOW))

    await eventually(ended)
    assert await measuring == {"shop.test.one": 1.0, "shop.test.two": 2.0}
    assert figure("shop.test.two") == 2.0
    assert figure("shop.test.slow") is None


_END_SLOW = Sql(
    "SELECT pg_cancel_backend",
    """
    SELECT pg_cancel_backend(pid) FROM pg_stat_activity
    WHERE usename = current_user AND state = 'active' AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()
    """,
)
