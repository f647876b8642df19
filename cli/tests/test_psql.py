"""`shop psql` on the embedded system: the tables of a service, read only, and nothing that is secret."""

import asyncio
import os
import stat
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cli.tests.commands import ROOT, Commands
from infra.local.ports import Ports
from infra.local.system import System

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """Where a system runs, as the runner keeps it."""
    folder: Path = tmp_path_factory.mktemp("run")
    async with System(ports=Ports.free(), folder=folder) as system:
        with system.found_in(folder):
            yield folder


@pytest.fixture
def shop(folder: Path) -> Commands:
    # A password of the user's own is not the reader's.
    return Commands(SHOP_FOLDER=str(folder), SHOP_SYSTEM="embedded", PGPASSWORD="another")


async def test_the_result_of_a_query_is_a_table(shop: Commands) -> None:
    """As psql prints it."""
    ended = await shop.run("psql", "inventory", "-c", "SELECT sku, held FROM stock WHERE sku = 'last-one'")
    assert (ended.code, ended.errors) == (0, "")
    assert ended.out.split() == ["sku", "|", "held", "----------+------", "last-one", "|", "0", "(1", "row)"]


async def test_with_json_the_rows_are_objects(shop: Commands) -> None:
    """Numbers are numbers, and text may hold anything."""
    ended = await shop.run("psql", "order", "--json", "-c", "SELECT 1 AS one, E'a\\nb' AS text, NULL AS none -- so\n;")
    assert (ended.code, ended.json) == (0, [{"one": 1, "text": "a\nb", "none": None}])
    assert (await shop.run("psql", "order", "--json", "-c", "SELECT order_id FROM orders")).json == []


async def test_sql_may_come_on_standard_input(folder: Path) -> None:
    """A pipe is no terminal."""
    environment = {**os.environ, "SHOP_FOLDER": str(folder), "SHOP_SYSTEM": "embedded"}
    process = await asyncio.create_subprocess_exec(
        ROOT / "shop", "psql", "payment", stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
    )
    out, errors = await process.communicate(b"SELECT 'one'; SELECT 'two';")
    assert (process.returncode, errors) == (0, b"")
    assert b"one" in out
    assert b"two" in out


async def test_what_is_hidden_is_said_with_the_columns_that_are_not(shop: Commands) -> None:
    """PostgreSQL itself only says that the table may not be read."""
    ended = await shop.run("psql", "order", "-c", "SELECT * FROM sagas")
    assert (ended.code, ended.out) == (1, "")
    assert ended.errors.startswith("ERROR:  permission denied for table sagas\nHidden: card_token. Name the columns")
    shown = ended.errors.partition("SELECT ")[2]
    assert (await shop.run("psql", "order", "-c", f"SELECT {shown}")).code == 0


@pytest.mark.parametrize(
    ("service", "sql", "code", "said"),
    [
        ("order", "SELEC 1", 1, 'ERROR:  syntax error at or near "SELEC"'),
        ("payment", "SELECT card_token FROM payments", 1, "ERROR:  permission denied for table payments"),
        ("inventory", "UPDATE stock SET held = 0", 1, "ERROR:  cannot execute UPDATE in a read-only transaction"),
        ("order", "\\! id", 2, "of psql's own commands"),
        ("order", "\\d `id`", 2, "of psql's own commands"),
        ("order", " ", 2, "there is no sql to run"),
        ("billing", "SELECT 1", 5, "There is no service billing; there are order, payment, inventory."),
    ],
)
async def test_what_cannot_be_done_is_said(shop: Commands, service: str, sql: str, code: int, said: str) -> None:
    """In PostgreSQL's words where they are clear."""
    ended = await shop.run("psql", service, "-c", sql)
    assert (ended.code, ended.out) == (code, "")
    assert said.lower() in ended.errors.lower()


async def test_tables_can_be_described(shop: Commands) -> None:
    """Of psql's own commands the one that runs nothing."""
    ended = await shop.run("psql", "order", "-c", "\\d inbox")
    assert ended.code == 0
    assert "consumer_group" in ended.out


async def test_json_is_for_one_query(shop: Commands) -> None:
    """A table of settings, or no SQL at all, has no rows to make objects of."""
    assert (await shop.run("psql", "order", "--json", "-c", "SHOW ALL")).code == 2
    assert (await shop.run("psql", "order", "--json")).code == 2


async def test_a_terminal_gets_psql_itself(shop: Commands) -> None:
    """With its prompt; its exit code is the command's."""
    code, said = await shop.in_terminal(100, "psql", "payment", typed="SELECT 6 * 7 AS answer;\n\\q\n")
    assert code == 0
    assert "Read only; hidden: payments.card_token." in said
    assert "payment=>" in said
    assert "42" in said


async def test_nobody_else_can_read_the_passwords(folder: Path) -> None:
    """The file is the user's who runs the system, and goes with it."""
    found = (folder / "pgpass").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o600, os.getuid())
