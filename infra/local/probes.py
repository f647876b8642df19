"""Says whether a port is free and whether a part of the system is ready."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Awaitable, Callable
from itertools import islice
from urllib.parse import urlsplit

_HOST = "127.0.0.1"
_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 2.0
# Below the range that the system gives to outgoing connections, one of which could otherwise take the port meanwhile.
_TEST_PORTS = range(10_000, 32_000)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do it: a port that only waits for the last packets of an earlier connection counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    candidates = random.sample(_TEST_PORTS, len(_TEST_PORTS))
    return list(islice(filter(is_free, candidates), count))


def http_ok(url: str) -> Callable[[], Awaitable[None]]:
    """Returns what waits until a GET of the URL is answered with 200."""

    async def until_ok() -> None:
        while not await _answers_ok(url):  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(_POLL_SECONDS)

    return until_ok


async def _answers_ok(url: str) -> bool:
    parts = urlsplit(url)
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(request.encode())
                status_line = await reader.readline()
            finally:
                writer.close()
        return b" 200 " in status_line
    return False
