"""What is asked again and again is found by an index, however many payments are stored."""

from chassis.database import Sql
from chassis.gauges import COUNTED_MAX
from chassis.tests.plans import ROWS, own_database, planned_when_empty
from infra.local.postgres import Postgres
from services.payment import card_worker
from services.payment.__main__ import GAUGES, MIGRATIONS

# A third is settled, a third is to be charged, a third to be refunded; the network is asked again in an hour.
FILL = f"""
    INSERT INTO payments (payment_id, order_id, state, amount_minor, currency_code, card_token, refund_requested_at,
                          next_attempt_at, traceparent, tracestate)
    SELECT gen_random_uuid(), n::text, CASE n % 3 WHEN 1 THEN 'CHARGING' ELSE 'CHARGED' END, 100, 'EUR',
           CASE n % 3 WHEN 1 THEN 'tok_visa' END, CASE n % 3 WHEN 2 THEN clock_timestamp() END,
           CASE WHEN n % 3 > 0 THEN clock_timestamp() + interval '1 hour' END, repeat('t', 55), ''
    FROM generate_series(1, {ROWS}) AS n
"""


async def test_figures_and_claims_are_found_by_an_index(postgres: Postgres) -> None:
    """By plans that were made when there was no payment."""
    claim = card_worker._CLAIM  # pyright: ignore[reportPrivateUsage]
    asked = {
        "claim": (claim, {"fresh": 20, "repeated": 12, "lease_seconds": 12.0}),
        **{name: (Sql(name, one.query), one.parameters) for name, one in GAUGES.items()},
    }
    async with (
        own_database(postgres, "payment", MIGRATIONS, "payments") as (database, ask),
        planned_when_empty(database, asked) as session,
    ):
        await ask(FILL)
        done = {name: await session.explain(name) for name in asked}
    assert {name: one for name, one in done.items() if one.rows > COUNTED_MAX} == {}
    assert {name: done[name] for name in GAUGES if not done[name].is_index_only} == {}
    assert (done["claim"].rows, done["shop.payments.oldest_open_refund_age_seconds"].rows) == (0, 1)
