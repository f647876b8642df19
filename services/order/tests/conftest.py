"""The order service's database, migrated, and the spans that a test records."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from chassis import migrate
from chassis.database import Database
from chassis.testing import Spans
from infra.local.postgres import Postgres
from services.order.__main__ import MIGRATIONS
from services.order.settings import OrderSettings


@pytest.fixture
def settings(postgres: Postgres) -> OrderSettings:
    return OrderSettings(
        database_url=SecretStr(postgres.database_url("order")),
        database_owner_url=SecretStr(postgres.database_url("order", "order_owner")),
    )


@pytest.fixture
async def database(settings: OrderSettings) -> AsyncIterator[Database]:
    await migrate.to_head(settings.database_owner_url, MIGRATIONS, asyncio.Event())
    database = Database(settings.database_url)
    yield database
    await database.close()


@pytest.fixture(scope="session")
def all_spans() -> Spans:
    return Spans()


@pytest.fixture
def spans(all_spans: Spans) -> Spans:
    all_spans.clear()
    return all_spans
