"""A database and topics of our own on the session's servers, and the spans and figures that a test makes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
import structlog
from aiokafka import AIOKafkaConsumer

from chassis import kafka
from chassis.database import Database
from chassis.kafka import Producer
from chassis.settings import ServiceSettings
from chassis.testing import Spans, eventually
from chassis.tests.containers import Containers
from chassis.tests.group import Group
from chassis.tests.surroundings import Broker, OwnDatabase, Server, Topic, service_settings


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> Iterator[None]:
    """What a failing test shows is read by a person, but not with every local variable of every frame."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session", params=["embedded", pytest.param("docker", marks=pytest.mark.docker)])
def containers(request: pytest.FixtureRequest) -> Iterator[Containers | None]:
    """Whoever uses a server is tested on both kinds: the embedded ones, for which this is None, and the real ones."""
    if request.param == "embedded":
        yield None
        return
    with Containers() as started:
        yield started


@pytest.fixture(scope="session")
def postgres(containers: Containers | None, request: pytest.FixtureRequest) -> Server:
    return containers.postgres if containers else request.getfixturevalue("postgres")


@pytest.fixture(scope="session")
def broker(containers: Containers | None, request: pytest.FixtureRequest) -> Broker:
    return containers.broker if containers else request.getfixturevalue("broker")


@pytest.fixture(scope="session")
def own_database(postgres: Server) -> OwnDatabase:
    own = OwnDatabase(postgres)
    asyncio.run(own.create())
    return own


@pytest.fixture
async def database(own_database: OwnDatabase) -> AsyncIterator[Database]:
    """Empty tables; at the end, no test may have left a transaction open."""
    await own_database.empty()
    database = Database(own_database.url)
    yield database

    async def none_is_open() -> bool:
        return await own_database.open_transactions() == 0

    try:
        # The server notices within a second that a session was cut off in the middle of a statement.
        await eventually(none_is_open, seconds_max=3)
    finally:
        await database.close()


@pytest.fixture
def settings(own_database: OwnDatabase, broker: Broker) -> ServiceSettings:
    return service_settings(own_database.url, broker.bootstrap_servers)


@pytest.fixture
def stopping() -> asyncio.Event:
    """The wish to stop, that every loop of a process shares."""
    return asyncio.Event()


@pytest.fixture
async def topic(settings: ServiceSettings) -> AsyncIterator[Topic]:
    # Each assignment looks its start up; a seek would race with that lookup, and may lose to it.
    client = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=20,
        isolation_level="read_committed",
    )
    await client.start()
    yield Topic(f"{uuid4().hex}.events", client)
    await client.stop()


@pytest.fixture
async def producer(settings: ServiceSettings) -> AsyncIterator[Producer]:
    started = kafka.producer(settings, "test")
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
def group(database: Database, settings: ServiceSettings, topic: Topic, stopping: asyncio.Event) -> Group:
    return Group(database, settings, topic, stopping)


@pytest.fixture(scope="session")
def all_spans() -> Spans:
    return Spans()


@pytest.fixture
def spans(all_spans: Spans) -> Spans:
    all_spans.clear()
    return all_spans
