"""A migration of the next version adds columns while this one works: expand, and contract again."""

import asyncio
import json
from pathlib import Path

import asyncpg

from e2e.conftest import OVERRIDES
from infra.bench.load import Load
from infra.local.ports import Ports
from infra.local.postgres import SERVICES
from infra.local.system import System as Embedded

ORDERS, ORDERS_PER_SECOND = 100, 20
TABLES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
# Between two changes, so that each meets statements that know the schema of before.
PAUSE_SECONDS = 0.1


async def test_a_column_is_added_under_load(tmp_path: Path) -> None:
    """Every table gets a nullable column, and loses it again, at 20 orders/s: nothing fails, all orders end."""
    async with Embedded(ports=Ports.free(), environment=OVERRIDES, folder=tmp_path) as system:
        load = Load(system, ORDERS_PER_SECOND, ORDERS)
        changing = asyncio.create_task(change_each_table(system))
        await load.run()
        assert await changing > 20
        assert len(load.accepted) == ORDERS
        assert [order for order in load.orders if order.outcome != order.expected] == []
    logs = [(tmp_path / "logs" / f"{name}.log").read_text() for name in SERVICES]
    said = [json.loads(line) for log in logs for line in log.splitlines()]
    assert [line for line in said if line["level"] == "error" or line["event"] == "handler failed"] == []


async def change_each_table(system: Embedded) -> int:
    """How many tables of all services were changed, each twice."""
    changed = 0
    for service in SERVICES:
        owner: asyncpg.Connection = await asyncpg.connect(
            system.database_url(service, f"{service}_owner").replace("+asyncpg", ""), timeout=5
        )
        try:
            await owner.execute("SET lock_timeout = '2s'")
            tables = [row[0] for row in await owner.fetch(TABLES)]
            for change in ("ADD COLUMN spare text", "DROP COLUMN spare"):
                for table in tables:
                    await asyncio.sleep(PAUSE_SECONDS)
                    await owner.execute(f"ALTER TABLE {table} {change}")
            changed += len(tables)
        finally:
            await owner.close()
    return changed
