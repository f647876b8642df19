"""The unit of work: one PostgreSQL transaction around one handler, shielded from whoever stops waiting for it.

unit_of_work ── BEGIN ─ handler ─ what was collected (outbox, commands) ─ COMMIT ─▶ listeners wake
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from opentelemetry.trace import Span, SpanContext, SpanKind, get_current_span
from pydantic import SecretStr

from chassis import errors, logs, telemetry
from chassis.by_index import BY_INDEX
from chassis.committed_spans import hold
from chassis.source import Source, call_site

log = logs.get(__name__)

T = TypeVar("T")
P = ParamSpec("P")
Collected = Callable[["Transaction", list[Any]], Awaitable[None]]


# What a caller waits for a connection, or the server to answer a new one.
CONNECT_SECONDS_MAX = 5.0
# A parameter, and not the second colon of a cast or what follows a colon in a word.
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")


class Row(asyncpg.Record):
    """A row; its columns are attributes."""

    def __getattr__(self, column: str) -> Any:
        try:
            return self[column]
        except KeyError:
            raise AttributeError(column) from None


class Sql:
    """One statement with the name its span bears.

    Args:
        summary: operation and table, such as `INSERT orders` (semantic conventions: `db.query.summary`).
        statement: the SQL, with `:name` parameters.
    """

    def __init__(self, summary: str, statement: str) -> None:
        self.summary = summary
        names = list(dict.fromkeys(_PARAMETER.findall(statement)))
        self._names = names
        self.query = _PARAMETER.sub(lambda parameter: f"${names.index(parameter[1]) + 1}", statement)
        # No operation and no table by themselves: a statement may have several.
        self.attributes: Mapping[str, str] = {
            "db.system.name": "postgresql",
            "db.query.summary": summary,
            "db.query.text": " ".join(statement.split()),
        }

    def arguments(self, parameters: Mapping[str, Any]) -> list[Any]:
        """The parameters' values in the order of the query's placeholders.

        Raises:
            KeyError: one is missing.
        """
        return [parameters[name] for name in self._names]


class Promised(NamedTuple):
    """A row to be written just before the commit, and the span and order it was promised in."""

    span: Span
    order_id: str
    row: Any


class Shared(NamedTuple):
    """A statement that served several orders; without their ids it served all of the transaction's."""

    context: SpanContext
    order_ids: frozenset[str]


class Transaction:
    """An open transaction. Handlers use it and never commit it."""

    def __init__(self, connection: PoolConnectionProxy) -> None:
        self._connection = connection
        self._collected: dict[Collected, list[Promised]] = {}
        self._open: list[Callable[[], None]] = []
        self.committed: list[Callable[[], None]] = []
        self.notifications: set[tuple[str, str]] = set()
        # The span of the batch, if the transaction serves one; the statements that ran under it, by summary; and the
        # orders that the one which runs now serves, if not all.
        self.batch: Span | None = None
        self._shared: dict[str, Shared] = {}
        self._serves: frozenset[str] = frozenset()

    async def all(self, sql: Sql, **parameters: Any) -> Sequence[Row]:
        """The rows that the statement returns."""
        with self._statement(sql, call_site(1)):
            return await self._connection.fetch(sql.query, *sql.arguments(parameters))

    async def first(self, sql: Sql, **parameters: Any) -> Row | None:
        """The first row that the statement returns, or None."""
        with self._statement(sql, call_site(1)):
            return await self._connection.fetchrow(sql.query, *sql.arguments(parameters))

    async def run(self, sql: Sql, **parameters: Any) -> int:
        """The number of rows that the statement changed."""
        with self._statement(sql, call_site(1)):
            # Such as `INSERT 0 3`.
            done = await self._connection.execute(sql.query, *sql.arguments(parameters))
            return int(done.rsplit(" ", 1)[-1])

    async def many(self, sql: Sql, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run the statement once for each of the rows, in one round trip."""
        with self._statement(sql, call_site(1)):
            await self._connection.executemany(sql.query, [sql.arguments(row) for row in rows])

    @contextmanager
    def _statement(self, sql: Sql, source: Source) -> Generator[None]:
        is_shared = self.batch is not None and get_current_span() is self.batch
        with telemetry.span(sql.summary, SpanKind.CLIENT, {**sql.attributes, **source}) as span:
            if is_shared:
                self._shared[sql.summary] = Shared(span.get_span_context(), self._serves)
            try:
                yield
            except asyncpg.PostgresError as error:
                # It may quote the whole row, a card token in it, and errors end in logs and in the status of spans.
                error.detail = None  # pyright: ignore[reportAttributeAccessIssue] - set when the answer is read
                error.add_note(sql.query)
                raise

    def shared_by(self, order_id: str) -> Mapping[str, SpanContext]:
        """The statements in the batch's own trace that served this order too, by summary."""
        return {
            summary: statement.context
            for summary, statement in self._shared.items()
            if not statement.order_ids or order_id in statement.order_ids
        }

    def collect(self, flush: Collected, row: Any) -> None:
        """Keep a row for `flush`, which gets all it was given in this transaction once, just before the commit.

        Rows of one span are flushed under it, rows of several under what is current then: their batch.
        """
        self._collected.setdefault(flush, []).append(Promised(get_current_span(), telemetry.order_id(), row))

    def keep_open(self, end: Callable[[], None]) -> None:
        """Call `end`, which ends a span, with the commit; of what is rolled back nothing is told."""
        self._open.append(end)

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
            for flush, promised in collected.items():
                rows = [one.row for one in promised]
                if len({one.span for one in promised}) > 1:
                    self._serves = frozenset(one.order_id for one in promised)
                    await flush(self, rows)
                    self._serves = frozenset()
                    continue
                with telemetry.inside(promised[0].span), telemetry.about_order(promised[0].order_id):
                    await flush(self, rows)

    def end_spans(self) -> None:
        """End the spans that were kept open."""
        for end in self._open:
            end()


class Database:
    """One service's database: a bounded pool, units of work, and in-process wake-ups after a commit."""

    def __init__(self, url: SecretStr, pool_size: int = 8) -> None:
        self._pool: asyncpg.Pool = asyncpg.create_pool(
            # The owner's URL is for SQLAlchemy, under Alembic; this one is written alike.
            url.get_secret_value().replace("postgresql+asyncpg://", "postgresql://", 1),
            min_size=0,
            max_size=pool_size,
            record_class=Row,
            # Every path below ends its transaction itself; the pool's own reset would be one more round trip.
            reset=_as_it_is,
            timeout=CONNECT_SECONDS_MAX,
            server_settings={
                "statement_timeout": "5000",
                "lock_timeout": "3000",
                "idle_in_transaction_session_timeout": "10000",
                **BY_INDEX,
            },
        )
        self._free = asyncio.Semaphore(pool_size)
        self._listeners: dict[str, list[Callable[[str], None]]] = defaultdict(list)

    @asynccontextmanager
    async def _connection(self, begins: Callable[[], None] = lambda: None) -> AsyncGenerator[PoolConnectionProxy]:
        # Made ready by whoever comes first: with no connection to begin with there is nothing to wait for.
        await self._pool
        # Waited for here, not in the pool, which may be opening a connection: that must not be given up half-way.
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            await self._free.acquire()
        try:
            begins()
            async with self._pool.acquire() as connection:
                yield connection
        finally:
            self._free.release()

    async def close(self) -> None:
        """End the connections; one that is in use for longer than a while is cut off."""
        await self._pool
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                await self._pool.close()

    async def ping(self) -> None:
        """Raises what the driver raises when the database does not answer."""
        async with self._connection() as connection:
            await connection.execute("SELECT 1")

    def on_commit(self, channel: str, listener: Callable[[str], None]) -> None:
        """Call `listener(key)` after each commit of this process that notified the channel."""
        self._listeners[channel].append(listener)

    def off_commit(self, channel: str, listener: Callable[[str], None]) -> None:
        """Undo `on_commit`."""
        self._listeners[channel].remove(listener)

    @asynccontextmanager
    async def transaction(self, begins: Callable[[], None] = lambda: None) -> AsyncGenerator[Transaction]:
        """BEGIN … COMMIT; an exception rolls back, and takes the spans of the attempt with it.

        Args:
            begins: called when nothing is waited for any more but the database.
        """
        with hold() as held:
            async with self._connection(begins) as connection:
                try:
                    await connection.execute("BEGIN")
                    transaction = Transaction(connection)
                    yield transaction
                    await transaction.flush()
                    with held.committing(transaction.end_spans):
                        done = await connection.execute("COMMIT")
                    _check_committed(done)
                except BaseException:
                    await _roll_back(connection)
                    raise
        for act in transaction.committed:
            act()
        for channel, key in transaction.notifications:
            for listener in self._listeners[channel]:
                listener(key)
        transaction.end_spans()

    @asynccontextmanager
    async def single(self) -> AsyncGenerator[Transaction]:
        """For one statement that is its own transaction: no BEGIN, no COMMIT, so one round trip instead of three."""
        async with self._connection() as connection:
            yield Transaction(connection)

    async def unit_of_work(
        self,
        handler: Callable[Concatenate[Transaction, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `handler(transaction, …)` in a transaction; the current span is its span, and leads to the handler.

        Cancelling the caller does not cancel work that has begun: it is awaited to its commit or rollback first,
        because a connection abandoned in the middle of a statement is neither. What waits for a connection is dropped.
        """
        begun = asyncio.Event()

        async def work() -> T:
            telemetry.leads_to(handler)
            async with self.transaction(begun.set) as transaction:
                return await handler(transaction, *args, **kwargs)

        working = asyncio.create_task(work())
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            if not begun.is_set():
                working.cancel()
            await asyncio.wait({working})
            raise


async def _as_it_is(_connection: Any) -> None:
    """What a connection needs before its next use."""


# What the driver raises without a word from the server: no address, no answer in time, a connection that is closed, or
# one whose session the server has just ended, and that is not noticed as closed yet.
_DRIVER_ERRORS = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def _check_committed(done: str) -> None:
    # The COMMIT of a failed transaction is answered with ROLLBACK, and no error.
    if done != "COMMIT":
        raise RuntimeError("nothing was committed: a statement failed and its error was swallowed")


async def _roll_back(connection: PoolConnectionProxy) -> None:
    try:
        await connection.execute("ROLLBACK")
    except (*_DRIVER_ERRORS, asyncpg.PostgresError):
        # The connection is what failed: the server rolls back by itself, the pool must not see it again. If it was
        # noticed as closed meanwhile, the pool has taken it back.
        with suppress(asyncpg.InterfaceError):
            connection.terminate()


def is_transient(error: BaseException) -> bool:
    """Whether the world is at fault rather than the work: a lost connection, a full pool, a deadlock, a timeout."""
    if isinstance(error, asyncpg.PostgresError):
        return str(getattr(error, "sqlstate", "") or "")[:2] in _TRANSIENT_SQLSTATES
    return isinstance(error, _DRIVER_ERRORS)


def is_locked(error: BaseException) -> bool:
    """Whether another transaction holds a lock for longer than a session waits for one."""
    return isinstance(error, asyncpg.LockNotAvailableError)


def is_overdue(error: BaseException) -> bool:
    """Whether the server ended a statement that took its time, waiting for a lock or working.

    It is transient, but no outage: the server answers, and other work may well be done meanwhile.
    """
    return is_locked(error) or isinstance(error, asyncpg.QueryCanceledError)


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


# Connection exceptions, an unknown role or database (while one is being made or renamed; `checked` knows the lasting
# ones), transaction rollback (deadlock, serialization), insufficient resources, object not available (lock timeout),
# operator intervention (shutdown, statement timeout, cannot connect now).
_TRANSIENT_SQLSTATES = {"08", "28", "3D", "40", "53", "55", "57"}


@dataclass(slots=True)
class Outage:
    """Whether the database failed the block."""

    happened: bool = False


@contextmanager
def outages(what_waits: str, **fields: Any) -> Generator[Outage]:
    """An outage of the database ends the block with a warning, and the caller tries again later; a defect goes on.

    It looks at every exception, as the consumer does: which of them are the world's fault only `is_transient` knows.
    """
    outage = Outage()
    try:
        yield outage
    except Exception as error:
        if not is_transient(error):
            raise
        outage.happened = True
        log.warning(f"{what_waits}: the database does not answer", error=repr(error), **fields)
