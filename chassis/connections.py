"""The connections to one database: bounded in number, and no wait on any of them without an end on this side.

one ── idle, or a new one ──▶ statement … statement ──▶ idle again
          └ silent, or an outage: closed, and with it all that were open by then: they may be as dead
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg

from chassis.database_errors import Unavailable, closes

T = TypeVar("T")

# What a caller waits for a connection, or the server to answer a new one.
CONNECT_SECONDS_MAX = 5.0
# What a caller waits for an answer. The server's own limits, for a statement and for a lock, are well below: what is
# slow or locked is told by the server, and only who says nothing at all meets this one.
ANSWER_SECONDS_MAX = 7.0
# Firewalls and address translators forget a connection on which nothing is said, after five minutes or more.
IDLE_SECONDS_MAX = 240.0
# A session keeps what it has seen of the schema, plans and all.
AGE_SECONDS_MAX = 3600.0


async def connect(
    url: str, settings: Mapping[str, str], record_class: type[asyncpg.Record] = asyncpg.Record
) -> asyncpg.Connection:
    """A new session with these settings of the server's.

    Raises:
        Unavailable: there is none within CONNECT_SECONDS_MAX; its cause is what the server or the network says.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            return await asyncpg.connect(url, record_class=record_class, server_settings=dict(settings))
    except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError) as error:
        raise Unavailable(f"no connection: {type(error).__name__}: {error}") from error


class Connection:
    """One session with the server, for one task at a time.

    Each statement raises what the driver raises, and Unavailable when there is no answer in time.
    """

    def __init__(self, driver: asyncpg.Connection, generation: int) -> None:
        self.driver, self.generation = driver, generation
        self._loop = asyncio.get_running_loop()
        self.opened_at = self.idle_since = self._loop.time()
        # Whether the last statement met what may have met the others too.
        self.failed = False
        self._is_silent = self._is_asked = self._is_spoiled = False

    @property
    def is_usable(self) -> bool:
        """Whether it may be asked: each statement was answered, and nothing is known to be wrong."""
        return not self._is_asked and not self._is_spoiled and not self.driver.is_closed()

    async def fetch(self, query: str, *arguments: Any) -> Sequence[Any]:
        return await self._answer(self.driver.fetch(query, *arguments))

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        return await self._answer(self.driver.fetchrow(query, *arguments))

    async def execute(self, query: str, *arguments: Any) -> str:
        return await self._answer(self.driver.execute(query, *arguments))

    async def executemany(self, query: str, rows: Sequence[Sequence[Any]]) -> None:
        # With a limit of the driver's beside ours: where it waits for room to write, a connection that ends does not
        # wake it.
        await self._answer(self.driver.executemany(query, rows, timeout=ANSWER_SECONDS_MAX))

    def fail(self) -> None:
        """It, and those that are as old, are not used again."""
        self.failed = self._is_spoiled = True

    def close(self) -> None:
        """At once, and without a wait; a statement that is under way ends with Unavailable."""
        self._is_spoiled = True
        self.driver.terminate()

    async def _answer(self, asked: Coroutine[Any, Any, T]) -> T:
        """What the server answers.

        No limit of the driver's is enough: it closes old prepared statements without any, and after a time-out it asks
        the server, on a second connection, to cancel. Who is silent here may be silent there.
        """
        if not self.is_usable:
            asked.close()
            if self._is_asked:
                raise asyncpg.InterfaceError("two statements at once on one connection")
            raise Unavailable("the connection is closed")
        # Whoever leaves without an answer leaves a connection that nobody can use.
        self._is_asked = self._is_spoiled = True
        late = self._loop.call_later(ANSWER_SECONDS_MAX, self._give_up)
        try:
            answer = await asked
        except Exception as error:
            self._note(error)
            raise
        finally:
            late.cancel()
            self._is_asked = False
        self._is_spoiled = False
        return answer

    def _note(self, error: Exception) -> None:
        """What the error says of the connection; raises Unavailable where the driver does not say that it is lost."""
        if self._is_silent:
            raise Unavailable(f"no answer within {ANSWER_SECONDS_MAX:g} s") from error
        if isinstance(error, asyncpg.PostgresError):
            self.failed = self._is_spoiled = closes(error)
        elif self.driver.is_closed():
            # The driver takes it for wrong use to ask on a connection that the server has closed.
            self.failed = True
            raise Unavailable(f"the connection is closed: {error}") from error

    def _give_up(self) -> None:
        self._is_silent = self.failed = True
        self.driver.terminate()


class Connections:
    """Opens connections when they are needed, at most `size`, and keeps them for the next who needs one.

    The driver's own pool waits without an end, for a reset or a close, and is slow to let go of one that is lost.
    """

    def __init__(self, url: str, size: int, settings: Mapping[str, str], record_class: type[asyncpg.Record]) -> None:
        self._url, self._size, self._settings, self._record_class = url, size, settings, record_class
        self._free = asyncio.Semaphore(size)
        # The one that was used last is used next; the first has been idle for the longest time.
        self._idle: list[Connection] = []
        self._used: set[Connection] = set()
        # Of the connections that are opened now; older ones are not used again.
        self._generation = 0
        self._closed = False

    @asynccontextmanager
    async def one(self, begins: Callable[[], None] = lambda: None) -> AsyncGenerator[Connection]:
        """A connection for the block; it is idle, or closed, afterwards, without a wait.

        Args:
            begins: called when nothing is waited for any more but the database.

        Raises:
            Unavailable: all are in use for too long, or a new one cannot be opened.
        """
        await self._place()
        try:
            begins()
            connection = self._last_used() or await self._open()
            self._used.add(connection)
            try:
                yield connection
            finally:
                self._used.discard(connection)
                self._put_back(connection)
        finally:
            self._free.release()

    async def close(self) -> None:
        """End the connections; one that is in use for longer than a while is cut off."""
        self._closed = True
        self.expire()
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                for _ in range(self._size):
                    await self._free.acquire()
        for connection in self._used:
            connection.close()

    def expire(self) -> None:
        """Use none of the connections again that are open now; those that are in use are closed after it."""
        self._generation += 1
        while self._idle:
            self._idle.pop().close()

    async def _place(self) -> None:
        # Waited for here: a connection that is being opened must not be given up half-way.
        if self._free.locked() and not self._closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(CONNECT_SECONDS_MAX):
                    await self._free.acquire()
                    return
            raise Unavailable(f"all {self._size} connections are in use for longer than {CONNECT_SECONDS_MAX:g} s")
        if self._closed:
            raise Unavailable("the connections are closed")
        await self._free.acquire()

    def _last_used(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    async def _open(self) -> Connection:
        generation = self._generation
        return Connection(await connect(self._url, self._settings, self._record_class), generation)

    def _put_back(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        if connection.failed and connection.generation == self._generation:
            self.expire()
        if (
            connection.is_usable
            and connection.generation == self._generation
            and not connection.driver.is_in_transaction()
            and now - connection.opened_at < AGE_SECONDS_MAX
        ):
            connection.idle_since = now
            self._idle.append(connection)
        else:
            connection.close()
        while self._idle and now - self._idle[0].idle_since > IDLE_SECONDS_MAX:
            self._idle.pop(0).close()
