"""A TCP port in front of PostgreSQL that cuts a connection between a COMMIT and its answer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
# The statement as the driver sends it, and as the server says that it is done.
COMMIT = b"COMMIT\0"

Cut = Literal["never", "before the server has it", "after the server has done it"]


class CommitCut:
    """Passes bytes on, both ways; the next connection that wants to commit is cut as `cuts` says, and no other."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._connections: set[asyncio.Task[None]] = set()
        self.cuts: Cut = "never"

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[int]:
        """On a free port, as long as the block."""
        server = await asyncio.start_server(self._accept, HOST, 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            while self._connections:
                await asyncio.wait(self._connections, timeout=10)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._connect(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection(HOST, self._target_port)
        ways = [
            asyncio.create_task(self._pass_on(reader, target_writer, "before the server has it")),
            asyncio.create_task(self._pass_on(target_reader, writer, "after the server has done it")),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, target_writer):
            end.transport.abort()
        await asyncio.gather(*ways, return_exceptions=True)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, cut: Cut) -> None:
        """Until one of the two ends is closed, or the moment for the cut has come."""
        while chunk := await source.read(CHUNK_BYTES):
            if COMMIT in chunk and self.cuts == cut:
                self.cuts = "never"
                return
            target.write(chunk)
            await target.drain()
