"""What the tests of several verbs do: place orders, take parts away, and look at lines that are to be copied."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from cli.tests.commands import Commands
from infra.local.probes import http_ok
from infra.local.system import System

UNKNOWN = "01a21e5b-4545-7730-aee6-f4059e7cac82"
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# What a person copies: ids and addresses.
COPIED = re.compile(r"https?://\S+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@asynccontextmanager
async def without(system: System, part: str, how: str = "stop") -> AsyncGenerator[None]:
    """Inside the block the part is away; after it everybody has found it again."""
    async with system.broken(part, how):
        yield
    async with asyncio.timeout(30):
        await http_ok(f"{system.gateway_url}/readyz")()


async def decided(shop: Commands, *options: str) -> dict[str, Any]:
    """A placed order, once it is confirmed or rejected."""
    said = await shop.run("order", "place", "--watch", "--json", *options)
    assert said.code == 0, said
    return said.objects[0]


def plain(text: str) -> str:
    """Without what only colours and moves."""
    return ANSI.sub("", text)
