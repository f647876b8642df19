"""The servers that run in production, as containers: what the contract tests run against beside the embedded ones.

They are started side by side, and removed whatever happens: nothing else may be there to clean up after us.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self, cast

import asyncpg
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from testcontainers.core.container import DockerContainer

from chassis.tests.proxy import HOST, Proxy
from conftest import free_port

START_SECONDS_MAX = 60.0


def container(image: str, port: int, published: int, environment: Mapping[str, str]) -> DockerContainer:
    """A container that will be reachable from this machine alone, on a port that outlives its restart."""
    made = DockerContainer(image, env=dict(environment))
    # The engine takes an address here, the annotation does not.
    cast(dict[str, Any], made.ports)[f"{port}/tcp"] = (HOST, published)
    return made


class PostgresContainer:
    """PostgreSQL 17 as its image sets it up, but that nothing has to survive a crash of the machine."""

    def __init__(self) -> None:
        self.port = free_port()
        self._password = secrets.token_hex(16)
        environment = {"POSTGRES_PASSWORD": self._password, "POSTGRES_INITDB_ARGS": "--no-sync"}
        self.container = container("postgres:17", 5432, self.port, environment)
        self.container.with_command("postgres -c fsync=off").with_tmpfs_mount("/var/lib/postgresql/data")

    def superuser_url(self, database: str = "postgres") -> str:
        return f"postgresql+asyncpg://postgres:{self._password}@{HOST}:{self.port}/{database}"

    async def until_ready(self) -> None:
        url = self.superuser_url().replace("+asyncpg", "")

        async def ask() -> None:
            await (await asyncpg.connect(url, timeout=5)).close()

        await until(ask, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class KafkaContainer:
    """One Kafka broker that is its own controller, behind a port that can be closed.

    Like the embedded one it makes a topic at its first use, with 4 partitions, and lets no member wait for others.
    """

    ENVIRONMENT: Mapping[str, str] = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": "CLIENTS://:9092,BROKERS://localhost:9094,CONTROLLER://:9093",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CLIENTS:PLAINTEXT,BROKERS:PLAINTEXT,CONTROLLER:PLAINTEXT",
        # It speaks to itself about transactions, and cannot reach the port that its clients are told.
        "KAFKA_INTER_BROKER_LISTENER_NAME": "BROKERS",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_NUM_PARTITIONS": "4",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        # The tests' members are taken for dead soon.
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        # A broker that was killed may come back when its controller has forgotten it: after 9 s unless told.
        "KAFKA_BROKER_SESSION_TIMEOUT_MS": "3000",
        "KAFKA_BROKER_HEARTBEAT_INTERVAL_MS": "500",
        # Small, and quick to start.
        "KAFKA_HEAP_OPTS": "-Xms256m -Xmx256m",
        "KAFKA_JVM_PERFORMANCE_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    }

    def __init__(self) -> None:
        published = free_port()
        self._proxy = Proxy(published)
        self.bootstrap_servers = f"{HOST}:{self._proxy.port}"
        advertised = {"KAFKA_ADVERTISED_LISTENERS": f"CLIENTS://{self.bootstrap_servers},BROKERS://localhost:9094"}
        self.container = container("apache/kafka:4.3.0", 9092, published, {**self.ENVIRONMENT, **advertised})

    def down(self) -> None:
        """Drop every connection and refuse new ones."""
        self._proxy.down()

    def up(self) -> None:
        """Take connections again."""
        self._proxy.up()

    def damage_once(self, marker: bytes) -> None:
        """The next time that it sends these bytes, they arrive changed."""
        self._proxy.damage_once(marker)

    def close(self) -> None:
        self._proxy.close()

    @asynccontextmanager
    async def stopped(self, *, killed: bool) -> AsyncGenerator[None]:
        """Not there during the block, by SIGKILL or in good order; after it, ready again, with what it had."""
        server = self.container.get_wrapped_container()
        await asyncio.to_thread(lambda: server.kill() if killed else server.stop())
        try:
            yield
        finally:
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(START_SECONDS_MAX):
                await self.until_ready()

    async def until_ready(self) -> None:
        async def ask() -> None:
            client = AIOKafkaClient(bootstrap_servers=self.bootstrap_servers)
            try:
                await client.bootstrap()
            finally:
                await client.close()

        await until(ask, KafkaError)


class Containers:
    """Both servers, started and ready."""

    def __init__(self) -> None:
        with ExitStack() as stack:
            self.postgres = PostgresContainer()
            stack.enter_context(self.postgres.container)
            self.broker = KafkaContainer()
            stack.callback(self.broker.close)
            stack.enter_context(self.broker.container)
            asyncio.run(self._until_ready())
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                await asyncio.gather(self.postgres.until_ready(), self.broker.until_ready())
        except TimeoutError as error:
            for server in (self.postgres, self.broker):
                error.add_note(server.container.get_wrapped_container().logs(tail=20).decode())
            raise


async def until(attempt: Callable[[], Awaitable[Any]], *failures: type[Exception]) -> None:
    """Try until it does not fail."""
    while True:
        try:
            await attempt()
        except failures:
            await asyncio.sleep(0.1)
        else:
            return
