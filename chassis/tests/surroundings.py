"""What the chassis is tested against: a database and topics that belong to these tests alone, and a small domain.

The domain: a handler that notes in the table `effects` what it was asked to do, in the order in which it was done.
"""

import asyncio
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value
from pydantic import SecretStr
from sqlalchemy import BigInteger, Column, Identity, MetaData, Table, Text, Uuid
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from uuid_utils.compat import uuid7

from chassis import messages, outbox, tables, telemetry
from chassis.database import Database, Sql, Transaction
from chassis.kafka import Producer
from chassis.messages import Envelope
from chassis.settings import ServiceSettings
from chassis.testing import eventually, planning_nested_loops, served

Record = ConsumerRecord[bytes, bytes]

METADATA = MetaData(naming_convention=tables.NAMING)
tables.outbox(METADATA)
tables.relay_lease(METADATA)
tables.inbox(METADATA)
tables.command_outbox(METADATA)
Table(
    "effects",
    METADATA,
    Column("number", BigInteger, Identity(), primary_key=True),
    Column("subject", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("message_id", Uuid),
)
INSERT_EFFECT = Sql(
    "INSERT effects", "INSERT INTO effects (subject, sequence, message_id) VALUES (:subject, :sequence, :message_id)"
)
SELECT_EFFECTS = Sql("SELECT effects", "SELECT subject, sequence, message_id FROM effects ORDER BY number")


class Server(Protocol):
    """The session's PostgreSQL."""

    port: int

    def superuser_url(self, database: str = ...) -> str: ...


class Broker(Protocol):
    """The session's Kafka."""

    bootstrap_servers: str

    def down(self) -> None:
        """Drop every connection and refuse new ones."""

    def up(self) -> None:
        """Take connections again."""


class Leaderless(Broker, Protocol):
    """The embedded one can be without leaders too."""

    def take_leader(self, topic: str, partition: int) -> None: ...

    def give_leader(self, topic: str, partition: int) -> None: ...


class OwnDatabase:
    """A database with one role, that can be looked into from outside, and broken and mended."""

    NAME = "chassis"

    def __init__(self, server: Server) -> None:
        self._server = server
        self._password = secrets.token_hex(16)
        self.url = SecretStr(f"postgresql+asyncpg://{self.NAME}:{self._password}@127.0.0.1:{server.port}/{self.NAME}")

    async def create(self) -> None:
        await self.ask(f"CREATE ROLE {self.NAME} LOGIN PASSWORD '{self._password}'", database="postgres")
        await self.ask(f"CREATE DATABASE {self.NAME} OWNER {self.NAME}", database="postgres")
        await self.ask(f"ALTER SCHEMA public OWNER TO {self.NAME}")
        engine = create_async_engine(self.url.get_secret_value(), poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.run_sync(METADATA.create_all)
        await engine.dispose()

    async def empty(self) -> None:
        await self.ask("TRUNCATE outbox, inbox, command_outbox, effects, relay_lease")
        await self.ask("INSERT INTO relay_lease (name) VALUES ('outbox')")

    async def ask(self, statement: str, *arguments: Any, database: str = NAME) -> list[asyncpg.Record]:
        """Run a statement as the superuser, on a connection of its own."""
        url = self._server.superuser_url(database).replace("+asyncpg", "")
        connection: asyncpg.Connection = await asyncpg.connect(url, timeout=5)
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()

    async def value(self, statement: str, *arguments: Any) -> Any:
        """The first column of the first row."""
        return (await self.ask(statement, *arguments))[0][0]

    async def open_transactions(self) -> int:
        """How many sessions of the role are inside a transaction, at work or idle."""
        return await self.value(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND datname = $1 AND xact_start IS NOT NULL",
            self.NAME,
        )

    async def idle_transactions(self) -> int:
        """How many sessions of the role hold a transaction open while nothing is asked of them."""
        return await self.value(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND state LIKE 'idle in transaction%'", self.NAME
        )

    def planning_nested_loops(self) -> AbstractAsyncContextManager[None]:
        """As `testing.planning_nested_loops`, for this role."""
        return planning_nested_loops(self._server.superuser_url("postgres"), self.NAME)

    async def down(self) -> None:
        """End every session and take no new ones."""
        await self.ask(f"ALTER DATABASE {self.NAME} ALLOW_CONNECTIONS false", database="postgres")
        await self.end_sessions()

    async def end_sessions(self) -> None:
        """End every session of the role, whatever it is doing, as a restart of the server would."""
        await self.ask(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1",
            self.NAME,
            database="postgres",
        )

    async def up(self) -> None:
        """Take sessions again."""
        await self.ask(f"ALTER DATABASE {self.NAME} ALLOW_CONNECTIONS true", database="postgres")


class Topic:
    """A topic of one test: written to by whoever knows its name, read here from its beginning, by no group."""

    def __init__(self, name: str, client: AIOKafkaConsumer) -> None:
        self.name = name
        self._client = client

    def __str__(self) -> str:
        return self.name

    @property
    def dead(self) -> "Topic":
        """Its dead letters."""
        return Topic(f"{self.name}.dead", self._client)

    async def records(self) -> list[Record]:
        """Everything that is there now, each partition in its order."""
        # Asking for the topic makes it, as producing to it would.
        partitions = [TopicPartition(self.name, number) for number in range(4)]
        self._client.assign(partitions)
        ends = await self._client.end_offsets(partitions)
        found: list[Record] = []
        async with asyncio.timeout(10):
            while len(found) < sum(ends.values()):
                for records in (await self._client.getmany(timeout_ms=1000)).values():
                    found.extend(records)
        return found


@asynccontextmanager
async def running(loop: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> AsyncGenerator[asyncio.Task[None]]:
    """Run a loop of the process beside the block; at its end ask it to stop, and wait until it has."""

    async def run() -> None:
        await loop()

    task = asyncio.create_task(run())
    try:
        yield task
    finally:
        stopping.set()
        async with asyncio.timeout(15):
            await task


def event(subject: str, sequence: int = 1, payload: Message | None = None) -> Envelope:
    """An event as another service would have published it; its payload is its sequence."""
    payload = payload or Int64Value(value=sequence)
    return Envelope(
        id=uuid7(),
        type=payload.DESCRIPTOR.full_name,
        source="test",
        subject=subject,
        time=datetime.now(UTC),
        sequence=sequence,
        trace=telemetry.store(),
        payload=payload.SerializeToString(),
    )


async def send(producer: Producer, topic: Topic, *events: Envelope) -> None:
    """Send events one after the other."""
    for sent in events:
        await producer.send_and_wait(topic.name, sent.payload, key=sent.key, headers=messages.headers(sent))


async def send_together(producer: Producer, topic: Topic, *events: Envelope) -> None:
    """Send events in one batch, to one partition: the broker in memory hands out a batch at a time."""
    batch = producer.client.create_batch()
    for sent in events:
        batch.append(key=sent.key, value=sent.payload, timestamp=None, headers=messages.headers(sent))
    batch.close()
    await (await producer.client.send_batch(batch, topic.name, partition=0))


async def note_effect(transaction: Transaction, event: Message, envelope: Envelope) -> None:
    """The handler of the small domain."""
    await transaction.run(INSERT_EFFECT, subject=envelope.subject, sequence=envelope.sequence, message_id=envelope.id)


class Held:
    """The same, but held up in the middle: `works` says that it has begun, `may_end` lets it go on."""

    def __init__(self) -> None:
        self.works, self.may_end = asyncio.Event(), asyncio.Event()

    async def handle(self, transaction: Transaction, event: Message, envelope: Envelope) -> None:
        self.works.set()
        await self.may_end.wait()
        await note_effect(transaction, event, envelope)


async def effects(database: Database) -> list[tuple[str, int]]:
    """What was done: subject and sequence, in the order in which it was."""
    async with database.single() as once:
        return [(row.subject, row.sequence) for row in await once.all(SELECT_EFFECTS)]


async def publish(database: Database, topic: Topic, subject: str, sequences: Sequence[int] = (1,)) -> list[UUID]:
    """Publish events of one aggregate in one unit of work; returns their ids."""

    async def change(transaction: Transaction) -> list[UUID]:
        return [
            outbox.publish(transaction, topic.name, Int64Value(value=sequence), subject=subject, sequence=sequence)
            for sequence in sequences
        ]

    return await served(database, change)


async def all_done(database: Database, number: int) -> None:
    """Wait until so many effects are there."""

    async def are_there() -> bool:
        return len(await effects(database)) >= number

    await eventually(are_there)


def values(records: Sequence[Record], key: str | None = None) -> list[int]:
    """The numbers that the records carry, all or those of one key."""
    return [
        Int64Value.FromString(record.value or b"").value
        for record in records
        if key is None or record.key == key.encode()
    ]


def header(record: Record, name: str) -> str:
    """The value of a header that the record has exactly once."""
    [value] = [value for found, value in record.headers if found == name]
    return value.decode()


async def killed(settings: ServiceSettings, *arguments: str) -> None:
    """Run crash.py and wait until it has been killed, as it is to be.

    Raises:
        AssertionError: it ended in another way.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chassis.tests.crash",
        *arguments,
        stderr=asyncio.subprocess.PIPE,
        env={
            "PYTHONPATH": ".:protos/generated",
            "ADMIN_PORT": "1",
            "GRPC_PORT": "1",
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "DATABASE_OWNER_URL": settings.database_url.get_secret_value(),
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "KAFKA_FETCH_MAX_WAIT_MS": "20",
            "KAFKA_SESSION_TIMEOUT_MS": "1000",
        },
    )
    try:
        async with asyncio.timeout(20):
            _, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == -signal.SIGKILL, errors.decode()


def service_settings(database_url: SecretStr, bootstrap_servers: str) -> ServiceSettings:
    return ServiceSettings.model_validate(
        {
            "admin_port": 1,
            "grpc_port": 1,
            "database_url": database_url,
            "database_owner_url": database_url,
            "kafka_bootstrap_servers": bootstrap_servers,
            # The broker in memory holds an empty fetch for its whole maximum wait.
            "kafka_fetch_max_wait_ms": 20,
            # It lets the next member of a group wait for nearly this long.
            "kafka_session_timeout_ms": 1_000,
        }
    )


def settings_of_nowhere() -> ServiceSettings:
    """The settings of what connects to no server."""
    return service_settings(SecretStr("postgresql+asyncpg://nobody:secret@127.0.0.1:1/nowhere"), "127.0.0.1:1")
