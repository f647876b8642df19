"""The unit of work: one PostgreSQL transaction around one handler, shielded from whoever stops waiting for it.

unit_of_work ── BEGIN ─ handler ─ what was collected (outbox, commands) ─ COMMIT ─▶ listeners wake
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import asyncpg
from opentelemetry.trace import Span, SpanContext, SpanKind, get_current_span
from pydantic import SecretStr

from chassis import telemetry
from chassis.by_index import BY_INDEX
from chassis.committed_spans import hold
from chassis.connections import Connection, Connections
from chassis.database_errors import Unavailable
from chassis.database_errors import is_locked as is_locked
from chassis.database_errors import is_outdated as is_outdated
from chassis.database_errors import is_overdue as is_overdue
from chassis.database_errors import is_transient as is_transient
from chassis.outages import checked as checked
from chassis.outages import outages as outages
from chassis.source import Source, call_site

T = TypeVar("T")
P = ParamSpec("P")
Collected = Callable[["Transaction", list[Any]], Awaitable[None]]


# Each time the schema changes under a unit of work it is done again: every table may be changed by itself.
OUTDATED_TRIES_MAX = 3
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


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a transaction's statements may wait for each lock, and take as a whole; less than the session's."""

    lock_seconds: float
    statement_seconds: float

    @property
    def begin(self) -> str:
        """BEGIN with these limits: one round trip, as without."""
        lock_ms, statement_ms = (max(1, int(1000 * each)) for each in (self.lock_seconds, self.statement_seconds))
        return f"BEGIN; SET LOCAL lock_timeout = {lock_ms}; SET LOCAL statement_timeout = {statement_ms}"


class Transaction:
    """An open transaction. Handlers use it and never commit it."""

    def __init__(self, connection: Connection) -> None:
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
        self._connections = Connections(
            # The owner's URL is for SQLAlchemy, under Alembic; this one is written alike.
            url.get_secret_value().replace("postgresql+asyncpg://", "postgresql://", 1),
            pool_size,
            settings={
                "statement_timeout": "5000",
                "lock_timeout": "3000",
                "idle_in_transaction_session_timeout": "10000",
                # Between a statement's parsing and its execution no other limit runs, however silent the client is.
                "transaction_timeout": "12000",
                # A session whose client is gone, killed or tired of waiting, holds its locks no longer than this.
                "client_connection_check_interval": "1000",
                # One whose client cannot be heard any more would be kept for ever, and there are only so many.
                "idle_session_timeout": "600000",
                **BY_INDEX,
            },
            record_class=Row,
        )
        self._listeners: dict[str, list[Callable[[str], None]]] = defaultdict(list)

    async def close(self) -> None:
        """End the connections; one that is in use for longer than a while is cut off."""
        await self._connections.close()

    async def ping(self) -> None:
        """Raises Unavailable, or what the driver raises, when the database does not answer or takes no writes."""
        async with self._connections.one() as connection:
            answer = await connection.fetchrow("SELECT current_setting('transaction_read_only')")
            if answer[0] == "on":
                # As after a failover: a new connection may find the server that does.
                connection.fail()
                raise Unavailable("the database is read only")

    def on_commit(self, channel: str, listener: Callable[[str], None]) -> None:
        """Call `listener(key)` after each commit of this process that notified the channel."""
        self._listeners[channel].append(listener)

    def off_commit(self, channel: str, listener: Callable[[str], None]) -> None:
        """Undo `on_commit`."""
        self._listeners[channel].remove(listener)

    @asynccontextmanager
    async def transaction(
        self, begins: Callable[[], None] = lambda: None, *, limits: Limits | None = None
    ) -> AsyncGenerator[Transaction]:
        """BEGIN … COMMIT; an exception rolls back, and takes the spans of the attempt with it.

        Args:
            begins: called when nothing is waited for any more but the database.
            limits: the session's unless told.
        """
        with hold() as held:
            async with self._connections.one(begins) as connection:
                try:
                    await connection.execute(limits.begin if limits else "BEGIN")
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
        async with self._connections.one() as connection:
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
            return await self._at_once_again(begun.set, lambda transaction: handler(transaction, *args, **kwargs))

        working = asyncio.create_task(work())
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            if not begun.is_set():
                working.cancel()
            await asyncio.wait({working})
            raise

    async def _at_once_again(self, begins: Callable[[], None], work: Callable[["Transaction"], Awaitable[T]]) -> T:
        """Do the work in a transaction, and again where a migration has changed the schema under its statements."""
        for _ in range(OUTDATED_TRIES_MAX - 1):
            try:
                async with self.transaction(begins) as transaction:
                    return await work(transaction)
            except Exception as error:
                # It was rolled back, and the connections that remember the schema of before are closed.
                if not is_outdated(error):
                    raise
        async with self.transaction(begins) as transaction:
            return await work(transaction)


def _check_committed(done: str) -> None:
    # The COMMIT of a failed transaction is answered with ROLLBACK, and no error.
    if done != "COMMIT":
        raise RuntimeError("nothing was committed: a statement failed and its error was swallowed")


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.execute("ROLLBACK")
    except (Unavailable, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        # The connection is what failed: the server rolls back by itself when it has noticed that nobody is there.
        connection.close()
