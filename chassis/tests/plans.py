"""How PostgreSQL carries out a statement of ours on a large table, by a plan that it made when the table was empty."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import asyncpg
from pydantic import SecretStr

from chassis import migrate
from chassis.database import Database, Sql

ROWS = 100_000


class Server(Protocol):
    """The session's PostgreSQL, with the services' databases."""

    def database_url(self, service: str, role: str | None = ...) -> str: ...

    def superuser_url(self, database: str = ...) -> str: ...


@dataclass(frozen=True)
class Done:
    """What was done: the kinds of plan nodes, the pages that were read, the most rows that one node went through."""

    nodes: frozenset[str]
    pages: int
    rows: int

    @property
    def is_index_only(self) -> bool:
        """Whether an index alone answered."""
        scans = {node for node in self.nodes if node.endswith("Scan") and node != "Subquery Scan"}
        return scans == {"Index Only Scan"} and "Sort" not in self.nodes


class Statements:
    """Statements that one session has prepared, by their names; each keeps the first plan that it got."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._parameters: dict[str, str] = {}

    async def prepare(self, name: str, sql: Sql, **parameters: Any) -> None:
        """Have it planned as of now, and carried out once."""
        values = ", ".join(map(_literal, sql.arguments(parameters)))
        self._parameters[name] = f"({values})" if values else ""
        await self._connection.execute(f'PREPARE "{name}" AS {sql.query}')
        await self.explain(name)

    async def explain(self, name: str) -> Done:
        """Carry it out in a transaction that is rolled back, and say what was done."""
        await self._connection.execute("BEGIN")
        explain = f'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE "{name}"{self._parameters[name]}'
        try:
            [said] = await self._connection.fetchrow(explain)
        finally:
            await self._connection.execute("ROLLBACK")
        [plan] = json.loads(said)
        nodes = list(_nodes(plan["Plan"]))
        return Done(
            frozenset(node["Node Type"] for node in nodes),
            plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"],
            max(_gone_through(node) for node in nodes),
        )


@asynccontextmanager
async def planned_when_empty(
    database: Database, statements: Mapping[str, tuple[Sql, Mapping[str, Any]]]
) -> AsyncGenerator[Statements]:
    """All of them prepared, in one session of the service's kind."""
    async with database.single() as once:
        connection = once._connection  # pyright: ignore[reportPrivateUsage]
        prepared = Statements(connection)
        for name, (sql, parameters) in statements.items():
            await prepared.prepare(name, sql, **parameters)
        try:
            yield prepared
        finally:
            # Not all: the driver has prepared some too.
            for name in statements:
                await connection.execute(f'DEALLOCATE "{name}"')


@asynccontextmanager
async def own_database(
    postgres: Server, service: str, migrations: Path, *tables: str
) -> AsyncGenerator[tuple[Database, Callable[[str], Awaitable[Any]]]]:
    """A database like a service's, but a test's own: migrated, neglected, and with a way to fill it."""
    name = f"{service}_{'_'.join(tables)}"
    owner_url = SecretStr(postgres.database_url(service, f"{service}_owner").removesuffix(service) + name)
    await _ask(postgres, "postgres", f"CREATE DATABASE {name} OWNER {service}_owner")
    await migrate.to_head(owner_url, migrations, asyncio.Event())

    async def ask(statement: str) -> None:
        await _ask(postgres, name, statement)

    await own_tables(ask, *tables)
    database = Database(owner_url, 2)
    try:
        yield database, ask
    finally:
        await database.close()
        await _ask(postgres, "postgres", f"DROP DATABASE {name}")


async def _ask(postgres: Server, database: str, statement: str) -> None:
    url = postgres.superuser_url(database).replace("+asyncpg", "")
    connection: asyncpg.Connection = await asyncpg.connect(url, timeout=5)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def own_tables(ask: Callable[[str], Awaitable[Any]], *tables: str) -> None:
    """Nobody vacuums or analyses these tables unasked."""
    for table in tables:
        await ask(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")


def _nodes(plan: Mapping[str, Any]) -> Any:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _gone_through(node: Mapping[str, Any]) -> int:
    thrown_away = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + thrown_away) * node["Actual Loops"])


def _literal(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool() | int() | float():
            return str(value)
        case list():
            return "'{" + ",".join(map(str, value)) + "}'"  # pyright: ignore[reportUnknownArgumentType]
        case _:
            return f"'{value}'"
