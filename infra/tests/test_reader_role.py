"""The role that only looks, as both systems make it: it sees every table, and no card token."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from chassis import migrate
from chassis.tests.containers import HOST, container, until
from conftest import free_port
from infra.local.postgres import SERVICES, Postgres

ROOT = Path(__file__).resolve().parents[2]
HIDDEN = {
    "order": {("command_outbox", "payload"), ("orders", "request_fingerprint"), ("sagas", "card_token")},
    "payment": {("payments", "card_token")},
    "inventory": set[tuple[str, str]](),
}
COLUMNS = """
    SELECT c.relname, a.attname, has_column_privilege(c.oid, a.attnum, 'SELECT') AS is_shown
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY c.relname, a.attnum
"""


class Container:
    """PostgreSQL as compose.yaml starts it; each role's password is its name."""

    def __init__(self) -> None:
        self.port = free_port()
        roles = [role for service in SERVICES for role in (service, f"{service}_owner", f"{service}_reader")]
        environment = {f"{role.upper()}_PASSWORD": role for role in (*roles, "postgres")}
        self.container = container("postgres:17", 5432, self.port, environment)
        self.container.with_volume_mapping(str(ROOT / "infra" / "postgres"), "/docker-entrypoint-initdb.d", "ro")
        self.container.with_command("postgres -c fsync=off").with_tmpfs_mount("/var/lib/postgresql/data")

    def database_url(self, service: str, role: str | None = None) -> str:
        return f"postgresql+asyncpg://{role or service}:{role or service}@{HOST}:{self.port}/{service}"

    async def until_ready(self) -> None:
        async def ask() -> None:
            async with connected(self, "inventory", "inventory_reader"):
                pass

        async with asyncio.timeout(60):
            await until(ask, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


Server = Postgres | Container


@asynccontextmanager
async def connected(server: Server, service: str, role: str) -> AsyncGenerator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.database_url(service, role).replace("+asyncpg", ""), timeout=5)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture(scope="module", params=["embedded", pytest.param("container", marks=pytest.mark.docker)])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """With the tables of all services, migrated as each does at its start."""
    if request.param == "embedded":
        embedded: Postgres = request.getfixturevalue("postgres")
        asyncio.run(migrated(embedded))
        yield embedded
        return
    started = Container()
    with started.container:
        asyncio.run(started.until_ready())
        asyncio.run(migrated(started))
        yield started


async def migrated(server: Server) -> None:
    for service in SERVICES:
        url = SecretStr(server.database_url(service, f"{service}_owner"))
        await migrate.to_head(url, ROOT / "services" / service / "migrations", asyncio.Event())


@pytest.mark.parametrize("service", SERVICES)
async def test_the_reader_sees_every_table_and_every_column_but_the_secrets(server: Server, service: str) -> None:
    """A column that is new and might be secret has to be thought about here."""
    async with connected(server, service, f"{service}_reader") as reader:
        columns = await reader.fetch(COLUMNS)
        hidden = {(row["relname"], row["attname"]) for row in columns if not row["is_shown"]}
        for table in {row["relname"] for row in columns}:
            shown = [row["attname"] for row in columns if row["relname"] == table and row["is_shown"]]
            assert shown, table
            await reader.fetch(f"SELECT {', '.join(shown)} FROM {table} LIMIT 1")
    assert hidden == HIDDEN[service]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT card_token FROM sagas",
        "SELECT * FROM sagas",
        "SELECT sagas FROM sagas",
        "SELECT count(card_token) FROM sagas",
        "SELECT step FROM sagas WHERE card_token = 'tok_visa'",
        "COPY sagas TO STDOUT",
        "SELECT payload FROM command_outbox",
        "SELECT request_fingerprint FROM orders",
        "SELECT pg_read_file('base')",
    ],
)
async def test_the_reader_does_not_get_at_a_card_token(server: Server, statement: str) -> None:
    async with connected(server, "order", "order_reader") as reader:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute(statement)


async def test_what_the_planner_knows_of_a_card_token_is_hidden_too(server: Server) -> None:
    """PostgreSQL keeps the most common values of each column."""
    async with connected(server, "payment", "payment") as service:
        await service.executemany(
            "INSERT INTO payments (payment_id, order_id, state, amount_minor, currency_code, card_token,"
            " next_attempt_at, traceparent, tracestate)"
            " VALUES ($1, $2, 'CHARGING', 1, 'EUR', 'tok_visa', 'infinity', '', '')",
            [(uuid7(), str(uuid7())) for _ in range(20)],
        )
    known = "SELECT count(*) FROM pg_stats WHERE tablename = 'payments' AND attname = 'card_token'"
    async with connected(server, "payment", "payment_owner") as owner:
        await owner.execute("ANALYZE payments")
        assert await owner.fetchval(known) == 1
    async with connected(server, "payment", "payment_reader") as reader:
        assert await reader.fetchval(known) == 0
        assert await reader.fetchval("SELECT count(*) > 5 FROM pg_stats WHERE tablename = 'payments'")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO stock (sku, available, unit_price_minor, currency_code) VALUES ('mine', 1, 1, 'EUR')",
        "UPDATE stock SET available = 1",
        "DELETE FROM stock",
        "TRUNCATE stock",
        "SELECT * FROM stock FOR UPDATE",
        "CREATE TABLE mine (id int)",
        "CREATE TEMP TABLE mine (id int)",
    ],
)
async def test_the_reader_changes_nothing(server: Server, statement: str) -> None:
    """Its transactions only read, and where it makes them write it has no right to."""
    async with connected(server, "inventory", "inventory_reader") as reader:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reader.execute(statement)
        await reader.execute("SET default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute(statement)


@pytest.mark.parametrize("service", SERVICES)
async def test_the_reader_reaches_no_database_but_its_own(server: Server, service: str) -> None:
    own = server.database_url(service, f"{service}_reader").replace("+asyncpg", "")
    for other in {*SERVICES, "postgres", "template1"} - {service}:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
            await asyncpg.connect(f"{own.rpartition('/')[0]}/{other}", timeout=5)


async def test_the_reader_is_in_nobodys_way(server: Server) -> None:
    """Its statements, its waits for locks and its open transactions end by themselves; its sessions are few."""
    async with connected(server, "order", "order_reader") as reader:
        bounds = [
            await reader.fetchval(f"SHOW {name}")
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        ]
        limit = await reader.fetchval("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user")
    assert "0" not in bounds
    assert limit == 10
