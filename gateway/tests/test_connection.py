"""What a client may keep open: a connection that does not come to a request ends, and so does one too many."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.settings import GatewaySettings
from gateway.tests.upstream import Upstream

POST = b"POST /v1/orders HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n"
PATIENCE_SECONDS = 4


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    """Connections are few, and end after a second."""
    return settings.model_copy(update={"idle_seconds_max": 1, "connections_max": 3})


class Connection:
    """A client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def head(self) -> bytes:
        """The next answer's head."""
        return await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)

    async def rest(self) -> bytes:
        """What comes until the gateway ends the connection."""
        received = b""
        # An end with a body still on its way is a reset.
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while part := await self._reader.read(65_536):
                    received += part
        return received

    async def rest_while_dripping(self, drop: bytes) -> bytes:
        """As `rest`, while the client sends a drop ten times a second."""

        async def drip() -> None:
            while True:
                self.send(drop)
                await asyncio.sleep(0.1)

        dripping = asyncio.create_task(drip())
        try:
            return await self.rest()
        finally:
            dripping.cancel()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class Connections(contextlib.AsyncExitStack):
    """Opens connections, and closes them at the end."""

    def __init__(self, settings: GatewaySettings) -> None:
        super().__init__()
        self._settings = settings

    async def open(self) -> Connection:
        connection = Connection(*await asyncio.open_connection(self._settings.host, self._settings.http_port))
        self.push_async_callback(connection.close)
        return connection


@pytest.fixture
async def connections(served: httpx.AsyncClient, settings: GatewaySettings) -> AsyncIterator[Connections]:
    async with Connections(settings) as opened:
        yield opened


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nho"])
async def test_a_connection_without_a_request_ends(connections: Connections, begun: bytes) -> None:
    connection = await connections.open()
    connection.send(begun)

    assert await connection.rest() == b""


async def test_a_head_that_drips_is_not_waited_for(connections: Connections) -> None:
    connection = await connections.open()
    connection.send(b"GET /healthz HTTP/1.1\r\nx: ")

    assert await connection.rest_while_dripping(b"x") == b""


async def test_a_head_that_drips_behind_an_answer_is_not_waited_for_either(connections: Connections) -> None:
    connection = await connections.open()
    connection.send(b"HEAD /healthz HTTP/1.1\r\nhost: g\r\n\r\n")
    assert (await connection.head()).startswith(b"HTTP/1.1 200 ")
    connection.send(b"GET /healthz HTTP/1.1\r\nx: ")

    assert await connection.rest_while_dripping(b"x") == b""


async def test_a_body_that_nobody_reads_does_not_keep_its_connection(connections: Connections) -> None:
    """The answer is there at once; the rest of the body would come for days."""
    connection = await connections.open()
    connection.send(b"POST /nowhere HTTP/1.1\r\nhost: g\r\ncontent-length: 1000000\r\n\r\n")
    assert (await connection.head()).startswith(b"HTTP/1.1 404 ")

    await connection.rest_while_dripping(b"x")


@pytest.mark.parametrize(
    ("head", "status"), [(b"content-length: 1000000\r\n\r\n", b"413"), (b"content-length: 10\r\n\r\n{", b"408")]
)
async def test_a_refused_body_ends_the_connection_with_its_answer(
    connections: Connections, head: bytes, status: bytes
) -> None:
    connection = await connections.open()
    connection.send(POST + head)

    answer = await connection.head()

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close\r\n" in answer
    began = time.monotonic()
    await connection.rest()
    assert time.monotonic() - began < 0.5


async def test_a_request_in_hand_keeps_its_connection(
    connections: Connections, settings: GatewaySettings, upstream: Upstream
) -> None:
    """However long its answer takes."""
    upstream.watch_stays_open = True
    connection = await connections.open()
    connection.send(f"GET /v1/orders/{upstream.place()}:watch HTTP/1.1\r\nhost: g\r\n\r\n".encode())
    await connection.head()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(settings.idle_seconds_max + 0.5):
            await connection.rest()


async def test_a_connection_lives_while_its_requests_come(connections: Connections, settings: GatewaySettings) -> None:
    connection = await connections.open()
    ends = time.monotonic() + settings.idle_seconds_max * 1.5
    while time.monotonic() < ends:
        connection.send(b"HEAD /v1/nowhere HTTP/1.1\r\nhost: g\r\n\r\n")
        assert (await connection.head()).startswith(b"HTTP/1.1 404 ")
        await asyncio.sleep(0.1)


async def test_one_connection_too_many_is_refused(
    served: httpx.AsyncClient, connections: Connections, settings: GatewaySettings
) -> None:
    """And there is room again as soon as another ends."""
    held = [await connections.open() for _ in range(settings.connections_max)]

    refused = await (await connections.open()).rest()

    head, _, body = refused.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in head
    assert json.loads(body)["reason"] == "GATEWAY_BUSY"
    await held[0].rest()
    assert (await served.get("/healthz")).status_code == 200
