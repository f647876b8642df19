"""The payment service's own database, migrated once, and the real card network."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from chassis import migrate
from chassis.database import Database
from chassis.testing import Spans
from infra.local.postgres import Postgres
from services.payment.__main__ import MIGRATIONS
from services.payment.card_network import CardNetwork
from services.payment.tests.driver import Driver
from services.payment.tests.network import Network


@pytest.fixture(scope="session")
def owner_url(postgres: Postgres) -> SecretStr:
    """The migrated database, as the role that migrates."""
    url = SecretStr(postgres.database_url("payment", "payment_owner"))
    asyncio.run(migrate.to_head(url, MIGRATIONS, asyncio.Event()))
    return url


@pytest.fixture
async def database(postgres: Postgres, owner_url: SecretStr) -> AsyncIterator[Database]:
    """The migrated database, as the role that runs."""
    opened = Database(SecretStr(postgres.database_url("payment")))
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """The card network, with little patience and short silences."""
    started = Network(tmp_path_factory.mktemp("network"), SLOW_SECONDS="1", SILENCE_SECONDS="1.2")
    asyncio.run(started.start())
    yield started
    assert started.stop() == 0


@pytest.fixture
async def own_network(tmp_path: Path) -> AsyncIterator[Network]:
    """A card network that the test may kill."""
    started = Network(tmp_path)
    await started.start()
    yield started
    started.stop()


@pytest.fixture
async def client() -> AsyncIterator[Callable[..., CardNetwork]]:
    """Makes clients of a card network and closes them."""
    clients: list[CardNetwork] = []

    def connect(url: str, timeout_seconds: float = 5.0) -> CardNetwork:
        clients.append(CardNetwork(url, timeout_seconds=timeout_seconds, connections_max=8))
        return clients[-1]

    yield connect
    for made in clients:
        await made.close()


@pytest.fixture
async def driver(database: Database, network: Network, client: Callable[..., CardNetwork]) -> Driver:
    return Driver(database, client(network.url))


@pytest.fixture
async def impatient(database: Database, network: Network, client: Callable[..., CardNetwork]) -> Driver:
    """Hangs up after 0.3 s."""
    return Driver(database, client(network.url, 0.3), timeout_seconds=0.3)


@pytest.fixture
def order_id() -> str:
    """A new order."""
    return str(uuid7())


@pytest.fixture(scope="session")
def all_spans() -> Spans:
    return Spans()


@pytest.fixture
def spans(all_spans: Spans) -> Spans:
    all_spans.clear()
    return all_spans
