"""A server that answers as a test wants it, and counts: how often it was asked, and how many waited at once."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from conftest import free_port


class Server:
    """What it was asked; it answers each question by `answer`."""

    def __init__(self, answer: Callable[[], Awaitable[web.Response]]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.asked = self.open = self.open_max = 0
        self._answer = answer

    async def handle(self, _request: web.BaseRequest) -> web.Response:
        self.asked += 1
        self.open += 1
        self.open_max = max(self.open, self.open_max)
        try:
            return await self._answer()
        finally:
            self.open -= 1


@asynccontextmanager
async def serving(answer: Callable[[], Awaitable[web.Response]]) -> AsyncGenerator[Server]:
    """The server, while it is asked."""
    server = Server(answer)
    runner = web.ServerRunner(web.Server(server.handle), shutdown_timeout=0.1)
    await runner.setup()
    host, _, port = server.address.partition(":")
    await web.TCPSite(runner, host, int(port)).start()
    try:
        yield server
    finally:
        await asyncio.wait_for(runner.cleanup(), 5)
