"""The database server of the embedded runner: each service has its own database and may do in it what it should."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import pytest_asyncio

from infra.local.guardian import Guardian
from infra.local.postgres import SERVICES, Postgres
from infra.local.postgres_programs import PostgresFailed
from infra.local.probes import free_ports
from infra.local.supervisor import Supervisor

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLES = [role for service in SERVICES for role in (service, f"{service}_owner")]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    yield from _unstarted()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def supervisor(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Supervisor]:
    guardian = await Guardian.start(server.folder)
    supervisor = Supervisor(tmp_path_factory.mktemp("logs"), guardian, say=print)
    yield supervisor
    await supervisor.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres(server: Postgres, supervisor: Supervisor) -> Postgres:
    await server.initialise()
    await supervisor.start(server.part())
    await server.create_databases()
    return server


@pytest.fixture
def unstarted() -> Iterator[Postgres]:
    yield from _unstarted()


def _unstarted() -> Iterator[Postgres]:
    [port] = free_ports(1)
    server = Postgres(port)
    yield server
    server.remove()


async def connect(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url.replace("+asyncpg", ""), timeout=5)


async def run(url: str, *statements: str) -> None:
    connection = await connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_an_owner_migrates_and_its_service_uses_what_was_made(postgres: Postgres, service: str) -> None:
    """A table and a sequence made by the owner are usable by the service at once."""
    await run(
        postgres.database_url(service, f"{service}_owner"), "CREATE TABLE notes (id serial PRIMARY KEY, text text)"
    )
    await run(
        postgres.database_url(service),
        "INSERT INTO notes (text) VALUES ('a')",
        "UPDATE notes SET text = 'b'",
        "SELECT * FROM notes",
        "DELETE FROM notes",
    )


async def test_a_migration_can_make_a_ledger_append_only(postgres: Postgres) -> None:
    """REVOKE by the owner is stronger than the default privileges."""
    owner, service = postgres.database_url("payment", "payment_owner"), postgres.database_url("payment")
    await run(owner, "CREATE TABLE entries (amount int)", "REVOKE UPDATE, DELETE ON entries FROM payment")
    await run(service, "INSERT INTO entries VALUES (1)")
    for statement in ("UPDATE entries SET amount = 2", "DELETE FROM entries", "TRUNCATE entries"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await run(service, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE TEMP TABLE mine (id int)",
        "CREATE ROLE mine",
        "CREATE DATABASE mine",
    ],
)
async def test_a_service_makes_nothing_but_rows(postgres: Postgres, statement: str) -> None:
    """The role that runs has no DDL."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run(postgres.database_url("order"), statement)


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_reaches_no_database_but_its_own(postgres: Postgres, role: str) -> None:
    """Neither another service's database nor the server's own can be connected to."""
    own = role.removesuffix("_owner")
    url = postgres.database_url(own, role)
    for database in {*SERVICES, "postgres", "template1"} - {own}:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
            await connect(url.removesuffix(own) + database)


@pytest.mark.parametrize("role", ROLES)
async def test_no_role_is_powerful(postgres: Postgres, role: str) -> None:
    connection = await connect(postgres.database_url(role.removesuffix("_owner"), role))
    row = await connection.fetchrow(
        "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls FROM pg_roles"
        " WHERE rolname = current_user"
    )
    await connection.close()
    assert row is not None
    assert row[0] is False


async def test_a_wrong_password_is_refused(postgres: Postgres) -> None:
    """TCP trusts nobody."""
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host="127.0.0.1", port=postgres.port, user="order", password="wrong", database="order", timeout=5
        )


async def test_passwords_do_not_lie_in_the_server_folder(postgres: Postgres) -> None:
    """The superuser's password file is gone once the server is initialised."""
    assert (postgres.folder / "data").exists()
    assert not (postgres.folder / "password").exists()


async def test_a_killed_server_is_ready_again_when_it_takes_connections(
    postgres: Postgres, supervisor: Supervisor
) -> None:
    for _ in range(3):
        await supervisor.kill("postgres")
        async with asyncio.timeout(30):
            await supervisor["postgres"].is_ready.wait()
        await run(postgres.database_url("order"), "SELECT 1")


async def test_the_word_that_a_killed_server_left_does_not_pass_for_that_of_the_next(unstarted: Postgres) -> None:
    """Both write that they are ready into the same file."""
    (unstarted.folder / "data").mkdir()
    (unstarted.folder / "data" / "postmaster.pid").write_text("123\n/data\n5432\nready   \n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(unstarted.until_ready(124), 0.1)
    await asyncio.wait_for(unstarted.until_ready(123), 5)


async def test_a_user_that_may_not_have_the_folder_is_said(
    unstarted: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container can take the right to give files away from root."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    unstarted.user = "nobody"
    monkeypatch.setattr(shutil, "chown", refuse)
    with pytest.raises(PostgresFailed, match="to nobody: Operation not permitted; start this as an ordinary user"):
        await unstarted.initialise()
