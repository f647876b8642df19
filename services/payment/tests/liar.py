"""A card network that says what a test tells it to say, over real HTTP."""

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import unused_port

# What is said about a key: an HTTP answer, or None to hang up.
Says = Callable[[str], web.StreamResponse | None]


def about(state: object, amount_minor: object = 1250, currency_code: object = "EUR", **fields: object) -> Says:
    """An answer in the network's format; `fields` are added, or replace what would stand there."""
    code = "insufficient_funds" if state == "DECLINED" else ""

    def says(key: str) -> web.Response:
        answer = {"key": key, "state": state, "amountMinor": amount_minor, "currencyCode": currency_code}
        body = json.dumps({**answer, "declineCode": code, **fields}).encode()
        return web.Response(body=body, content_type="application/json")

    return says


def status(number: int, body: bytes = b"", **headers: str) -> Says:
    """An answer of that status."""
    return lambda _key: web.Response(status=number, body=body, headers=headers)


def hang_up(_key: str) -> None:
    """No answer."""


class Liar:
    """Answers each question as it was told to, last."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._says: dict[str, Says] = {}
        application = web.Application()
        application.router.add_post("/charges", self._charge)
        application.router.add_get("/charges/{key}", self._find)
        application.router.add_post("/charges/{key}/void", self._void)
        self._runner = web.AppRunner(application)
        self._port = unused_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def says(self, *, charge: Says, find: Says, void: Says) -> None:
        self._says = {"charge": charge, "find": find, "void": void}

    def always_says(self, said: Says) -> None:
        self.says(charge=said, find=said, void=said)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _charge(self, request: web.Request) -> web.StreamResponse:
        return await self._answer("charge", request, request.headers["Idempotency-Key"])

    async def _find(self, request: web.Request) -> web.StreamResponse:
        return await self._answer("find", request, request.match_info["key"])

    async def _void(self, request: web.Request) -> web.StreamResponse:
        return await self._answer("void", request, request.match_info["key"])

    async def _answer(self, question: str, request: web.Request, key: str) -> web.StreamResponse:
        self.asked.append(question)
        said: Any = self._says[question](key)
        if said is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return said
