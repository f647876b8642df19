"""A TCP port in front of a server, that can be closed and opened again: a broken network, as its clients see it."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024


class Proxy:
    """Passes bytes on, both ways, from a thread of its own: whoever closes the port may be blocked until it is."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._marker: bytes | None = None
        # Bound for as long as the proxy lives, and never listening: nobody else gets the port while it is closed.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind((HOST, 0))
        self.port: int = self._reserved.getsockname()[1]
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.up()

    def up(self) -> None:
        """Take connections."""
        self._do(self._open())

    def down(self) -> None:
        """Drop every connection and refuse new ones."""
        self._do(self._shut())

    def damage_once(self, marker: bytes) -> None:
        """The next time that the server sends these bytes, they arrive changed."""
        self._marker = marker

    def _damaged(self, chunk: bytes) -> bytes:
        marker = self._marker
        if marker is None or marker not in chunk:
            return chunk
        self._marker = None
        return chunk.replace(marker, bytes(byte ^ 1 for byte in marker))

    def close(self) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reserved.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, self.port, reuse_port=True)

    async def _shut(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        while self._connections:
            await asyncio.wait(self._connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._connect(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(HOST, self._target_port)
        except OSError:
            await _abort(writer)
            return
        ways = [
            asyncio.create_task(_pass_on(reader, target_writer)),
            asyncio.create_task(_pass_on(target_reader, writer, self._damaged)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, _abort(writer), _abort(target_writer), return_exceptions=True)


async def _pass_on(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, changed: Callable[[bytes], bytes] = bytes
) -> None:
    """Until one of the two ends is closed."""
    while chunk := await source.read(CHUNK_BYTES):
        target.write(changed(chunk))
        await target.drain()


async def _abort(writer: asyncio.StreamWriter) -> None:
    """Close at once, whatever is still to be written."""
    writer.transport.abort()
    await writer.wait_closed()
