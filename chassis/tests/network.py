"""A network that swallows what it should carry: no reset, no end, as when a firewall has forgotten a connection."""

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager

HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
BOTH = ("to_server", "to_client")


class Link:
    """One connection through the network."""

    def __init__(self) -> None:
        self.swallowed: set[str] = set()
        self.carried_bytes = 0


class Network:
    """A port in front of a server, for as long as `network` runs it; what is silent once never speaks again."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._new: Collection[str] = ()
        self._ways: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.links: list[Link] = []
        self.port = 0

    def swallow(self, ways: Collection[str] = BOTH, *, links: int | None = None, new: bool = False) -> None:
        """From now on carry nothing these ways on the first so many connections, or all; on new ones too, if told."""
        for link in self.links[:links]:
            link.swallowed.update(ways)
        if new:
            self._new = ways

    def carry(self) -> None:
        """New connections are carried again."""
        self._new = ()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link()
        link.swallowed.update(self._new)
        self.links.append(link)
        server_reader, server_writer = await asyncio.open_connection(HOST, self._target_port)
        self._writers += [writer, server_writer]
        for way, source, target in (("to_server", reader, server_writer), ("to_client", server_reader, writer)):
            self._ways.add(asyncio.create_task(self._pass_on(link, way, source, target)))

    async def _pass_on(self, link: Link, way: str, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while chunk := await source.read(CHUNK_BYTES):
                if way in link.swallowed:
                    # Not even read any more: whoever writes fills buffers, and then waits.
                    return
                link.carried_bytes += len(chunk)
                target.write(chunk)
                await target.drain()
        except ConnectionError:
            pass
        if way not in link.swallowed:
            target.close()

    def close(self) -> None:
        for way in self._ways:
            way.cancel()
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def network(target_port: int) -> AsyncGenerator[Network]:
    """Carry everything until told otherwise; at the end every connection is cut off."""
    carried = Network(target_port)
    server = await asyncio.start_server(carried.accept, HOST, 0)
    carried.port = server.sockets[0].getsockname()[1]
    async with server:
        yield carried
        carried.close()
