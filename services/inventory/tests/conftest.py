"""The inventory service's own database, migrated once, and what the tests drive it with."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from chassis import migrate
from chassis.database import Database
from chassis.testing import Spans
from infra.local.postgres import Postgres
from services.inventory.__main__ import MIGRATIONS
from services.inventory.tests.driver import Driver


@pytest.fixture(scope="session")
def database_url(postgres: Postgres) -> SecretStr:
    """The migrated database, as the role that runs."""
    owner_url = SecretStr(postgres.database_url("inventory", "inventory_owner"))
    with asyncio.Runner() as runner:
        runner.run(migrate.to_head(owner_url, MIGRATIONS, asyncio.Event()))
    return SecretStr(postgres.database_url("inventory"))


@pytest.fixture
async def database(database_url: SecretStr) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def owner(postgres: Postgres, database_url: SecretStr) -> AsyncIterator[Database]:
    """The same database as the role that migrates."""
    opened = Database(SecretStr(postgres.database_url("inventory", "inventory_owner")), 2)
    yield opened
    await opened.close()


@pytest.fixture
def driver(database: Database, owner: Database) -> Driver:
    return Driver(database, owner)


@pytest.fixture
def order_id() -> str:
    """A new order."""
    return str(uuid7())


@pytest.fixture(scope="session")
def all_spans() -> Spans:
    return Spans()


@pytest.fixture
def spans(all_spans: Spans) -> Spans:
    """The spans that end during the test."""
    all_spans.clear()
    return all_spans
