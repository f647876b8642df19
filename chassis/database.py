"""The unit of work: one PostgreSQL transaction around one handler, shielded from whoever stops waiting for it.

unit_of_work ── BEGIN ─ handler ─ what was collected (outbox, commands) ─ COMMIT ─▶ listeners wake
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg
from opentelemetry.trace import SpanKind
from pydantic import SecretStr
from sqlalchemy import Row, TextClause, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chassis import errors, logs, telemetry

log = logs.get(__name__)

T = TypeVar("T")
P = ParamSpec("P")
Collected = Callable[["Transaction", list[Any]], Awaitable[None]]


class Sql:
    """One statement with the name its span bears.

    Args:
        summary: operation and table, such as `INSERT orders` (semantic conventions: `db.query.summary`).
        statement: the SQL, with `:name` parameters.
    """

    def __init__(self, summary: str, statement: str) -> None:
        self.summary = summary
        self.clause: TextClause = text(statement)
        self.attributes: Mapping[str, str] = {
            "db.system.name": "postgresql",
            "db.query.summary": summary,
            "db.operation.name": summary.split()[0],
            "db.collection.name": summary.split()[-1],
            "db.query.text": " ".join(statement.split()),
        }


class Transaction:
    """An open transaction. Handlers use it and never commit it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._collected: dict[Collected, list[Any]] = {}
        self.committed: list[Callable[[], None]] = []
        self.notifications: set[tuple[str, str]] = set()

    async def all(self, sql: Sql, **parameters: Any) -> Sequence[Row[Any]]:
        """The rows that the statement returns."""
        with telemetry.span(sql.summary, SpanKind.CLIENT, sql.attributes):
            return (await self._connection.execute(sql.clause, parameters)).all()

    async def first(self, sql: Sql, **parameters: Any) -> Row[Any] | None:
        """The first row that the statement returns, or None."""
        with telemetry.span(sql.summary, SpanKind.CLIENT, sql.attributes):
            return (await self._connection.execute(sql.clause, parameters)).first()

    async def run(self, sql: Sql, **parameters: Any) -> int:
        """The number of rows that the statement changed."""
        with telemetry.span(sql.summary, SpanKind.CLIENT, sql.attributes):
            return (await self._connection.execute(sql.clause, parameters)).rowcount

    async def many(self, sql: Sql, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run the statement once for each of the rows, in one round trip."""
        with telemetry.span(sql.summary, SpanKind.CLIENT, sql.attributes):
            await self._connection.execute(sql.clause, rows)

    def collect(self, flush: Collected, row: Any) -> None:
        """Keep a row for `flush`, which gets all it was given in this transaction once, just before the commit."""
        self._collected.setdefault(flush, []).append(row)

    def notify(self, channel: str, key: str = "") -> None:
        """Wake this process' listeners of the channel once the transaction has committed."""
        self.notifications.add((channel, key))

    def after_commit(self, act: Callable[[], None]) -> None:
        """Call `act` once the transaction has committed, such as a counter: what was rolled back did not happen."""
        self.committed.append(act)

    async def flush(self) -> None:
        """Write what was collected."""
        while self._collected:
            collected, self._collected = self._collected, {}
            for flush, rows in collected.items():
                await flush(self, rows)


class Database:
    """One service's database: a bounded pool, units of work, and in-process wake-ups after a commit."""

    def __init__(self, url: SecretStr, pool_size: int = 8) -> None:
        self._engine: AsyncEngine = create_async_engine(
            url.get_secret_value(),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=5,
            # An error names its statement, never its values: a card token may be among them.
            hide_parameters=True,
            # Every path below ends its transaction itself; the pool's own rollback would be one more round trip.
            pool_reset_on_return=None,
            connect_args={
                "timeout": 5,
                "server_settings": {
                    "statement_timeout": "5000",
                    "lock_timeout": "3000",
                    "idle_in_transaction_session_timeout": "10000",
                },
            },
        )
        self._autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._listeners: dict[str, list[Callable[[str], None]]] = defaultdict(list)

    async def close(self) -> None:
        await self._engine.dispose()

    async def ping(self) -> None:
        """Raises what the driver raises when the database does not answer."""
        async with self._autocommit.connect() as connection:
            await connection.execute(text("SELECT 1"))

    def on_commit(self, channel: str, listener: Callable[[str], None]) -> None:
        """Call `listener(key)` after each commit of this process that notified the channel."""
        self._listeners[channel].append(listener)

    def off_commit(self, channel: str, listener: Callable[[str], None]) -> None:
        """Undo `on_commit`."""
        self._listeners[channel].remove(listener)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction]:
        """BEGIN … COMMIT; an exception rolls back, and takes the spans of the attempt with it."""
        with telemetry.hold():
            async with self._engine.connect() as connection:
                try:
                    transaction = Transaction(connection)
                    yield transaction
                    await transaction.flush()
                    await connection.commit()
                except BaseException:
                    await _roll_back(connection)
                    raise
        for act in transaction.committed:
            act()
        for channel, key in transaction.notifications:
            for listener in self._listeners[channel]:
                listener(key)

    @asynccontextmanager
    async def single(self) -> AsyncGenerator[Transaction]:
        """For one statement that is its own transaction: no BEGIN, no COMMIT, so one round trip instead of three."""
        async with self._autocommit.connect() as connection:
            yield Transaction(connection)

    async def unit_of_work(
        self,
        handler: Callable[Concatenate[Transaction, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `handler(transaction, …)` in a transaction under a span of its name.

        Cancelling the caller does not cancel the work: it is awaited to its commit or rollback first, because a
        connection abandoned in the middle of a statement is neither.
        """
        work = asyncio.create_task(self._work(handler, *args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait({work})
            raise

    async def _work(
        self, handler: Callable[Concatenate[Transaction, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        with telemetry.span(handler.__name__, attributes=telemetry.code(handler)):
            async with self.transaction() as transaction:
                return await handler(transaction, *args, **kwargs)


async def _roll_back(connection: AsyncConnection) -> None:
    try:
        await connection.rollback()
    except (exc.DBAPIError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        # The connection is what failed: the server rolls back by itself, the pool must not see it again.
        await connection.invalidate()


def is_transient(error: BaseException) -> bool:
    """Whether the world is at fault rather than the work: a lost connection, a full pool, a deadlock, a timeout."""
    if isinstance(error, exc.DBAPIError):
        original = error.orig
        if error.connection_invalidated or isinstance(error, exc.InterfaceError):
            return True
        return str(getattr(original, "sqlstate", "") or "")[:2] in _TRANSIENT_SQLSTATES
    # SQLAlchemy wraps what statements raise; the driver's own errors come from connecting, BEGIN and COMMIT, the
    # interface error among them from a connection that closed in between.
    return isinstance(error, (OSError, exc.TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError))


@contextmanager
def checked(setting: str) -> Generator[None]:
    """The server answers, and says that nobody gets in with this URL: then waiting will not help.

    Raises:
        Misconfigured: an unknown role or database, a wrong password, a role that may not connect.
    """
    try:
        yield
    except (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
        asyncpg.InsufficientPrivilegeError,
    ) as error:
        raise errors.Misconfigured(
            f"setting {setting}: {error}; set it to a role and a database that are there"
        ) from error


# Connection exceptions, transaction rollback (deadlock, serialization), insufficient resources, object not available
# (lock timeout), operator intervention (shutdown, statement timeout, cannot connect now).
_TRANSIENT_SQLSTATES = {"08", "40", "53", "55", "57"}


@dataclass(slots=True)
class Outage:
    """Whether the database failed the block."""

    happened: bool = False


@contextmanager
def outages(what_waits: str, **fields: Any) -> Generator[Outage]:
    """An outage of the database ends the block with a warning, and the caller tries again later; a defect goes on.

    The one place that looks at every exception: which of them are the world's fault only `is_transient` knows.
    """
    outage = Outage()
    try:
        yield outage
    except Exception as error:
        if not is_transient(error):
            raise
        outage.happened = True
        log.warning(f"{what_waits}: the database does not answer", error=repr(error), **fields)
