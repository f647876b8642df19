"""What is asked again and again is found by an index, however many orders are stored: figures, deadlines, lists."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from chassis.database import Sql
from chassis.gauges import COUNTED_MAX, Figure
from chassis.tests.plans import ROWS, own_database, planned_when_empty
from infra.local.postgres import Postgres
from services.order import deadlines, orders
from services.order.__main__ import MIGRATIONS, figures
from services.order.settings import OrderSettings

PAGE = 21
# Half of the sagas have ended, a quarter is parked, a quarter waits for a deadline that is far away.
FILL = (
    f"""
    INSERT INTO orders (order_id, customer_id, request_id, request_fingerprint, lines, status, trace_id)
    SELECT lpad(n::text, 12, '0'), 'ada', n::text, '', repeat('x', 60)::bytea,
           CASE WHEN n % 2 = 0 THEN 'CONFIRMED' ELSE 'PENDING' END, repeat('t', 32)
    FROM generate_series(1, {ROWS}) AS n
    """,
    f"""
    INSERT INTO sagas (order_id, step, parked_at, deadline_at, traceparent, tracestate)
    SELECT lpad(n::text, 12, '0'),
           CASE n % 4 WHEN 1 THEN 'REFUNDING_PAYMENT' WHEN 3 THEN 'CHARGING_PAYMENT' ELSE 'CONFIRMED' END,
           CASE n % 4 WHEN 1 THEN clock_timestamp() END,
           CASE n % 4 WHEN 3 THEN clock_timestamp() + interval '1 hour' END, repeat('t', 55), ''
    FROM generate_series(1, {ROWS}) AS n
    """,
)
# Where nothing is found, and in the middle of what is.
ORDERS: Mapping[str, dict[str, str]] = {
    "nobody's orders": {"customer_id": "bob"},
    "somebody's rejected orders": {"customer_id": "ada", "status": "REJECTED"},
    "rejected orders": {"status": "REJECTED"},
    "somebody's pending orders": {"customer_id": "ada", "status": "PENDING"},
    "all orders": {},
}
SAGAS: Mapping[str, tuple[str, bool]] = {
    "sagas that reserve": ("RESERVING_STOCK", False),
    "sagas that charge": ("CHARGING_PAYMENT", False),
    "parked sagas": ("", True),
    "parked sagas that release": ("RELEASING_STOCK", True),
    "all sagas": ("", False),
}
_ORDERS, _SAGAS = orders._LIST, orders._LIST_SAGAS  # pyright: ignore[reportPrivateUsage]


def statements(measured: Mapping[str, Figure]) -> Mapping[str, tuple[Sql, Mapping[str, Any]]]:
    halfway, long_ago = f"{ROWS // 2:012}", datetime(2020, 1, 1, tzinfo=UTC)
    listed = {
        name: (_ORDERS[tuple(given)], {**given, "before": halfway, "size": PAGE}) for name, given in ORDERS.items()
    } | {
        name: (
            _SAGAS[bool(step), parked],
            {**({"step": step} if step else {}), "step_at": long_ago, "order_id": "", "size": PAGE},
        )
        for name, (step, parked) in SAGAS.items()
    }
    claim = deadlines._CLAIM  # pyright: ignore[reportPrivateUsage]
    return {
        **listed,
        "deadlines": (claim, {"room": 4, "claim_seconds": 10.0}),
        **{name: (Sql(name, one.query), one.parameters) for name, one in measured.items()},
    }


async def test_figures_deadlines_and_lists_are_found_by_an_index(postgres: Postgres, settings: OrderSettings) -> None:
    """By plans that were made when there was no order; then again by plans of that time's statistics."""
    async with own_database(postgres, "order", MIGRATIONS, "orders", "sagas") as (database, ask):
        measured = figures(settings)
        asked = statements(measured)
        async with planned_when_empty(database, asked) as session:
            for fill in FILL:
                await ask(fill)
            await ask("ANALYZE orders, sagas")
            await ask("UPDATE sagas SET step = 'CONFIRMED' WHERE step = 'CHARGING_PAYMENT'")
            old = {name: await session.explain(name) for name in asked}
        async with planned_when_empty(database, asked) as session:
            new = {name: await session.explain(name) for name in asked}
    for done in (old, new):
        far = {name: one for name, one in done.items() if one.rows > (COUNTED_MAX if name in measured else PAGE)}
        assert far == {}
        assert {name: done[name] for name in measured if not done[name].is_index_only} == {}
        assert done["deadlines"].rows == 0
