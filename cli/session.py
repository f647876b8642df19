"""One run of a command: what it prints to, and the running system that it asks, found when it is first needed."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from cli.output import Output

if TYPE_CHECKING:
    from cli.rest import Rest
    from cli.rpc import Rpc
    from cli.systems.running import Running
    from cli.traces import Traces

P = ParamSpec("P")


class Session:
    """What a command has: `out`, and the running system with its clients, which end with the command."""

    def __init__(self, out: Output, chosen: str, stack: AsyncExitStack) -> None:
        self.out = out
        self._chosen, self._stack = chosen, stack
        self._system: Running | None = None
        self._made: dict[str, Any] = {}

    async def system(self) -> "Running":
        """The running system.

        Raises:
            NoSystem: none runs, or two do and none was chosen.
        """
        if self._system is None:
            from cli.systems.found import running_system

            self._system = await running_system(self._chosen)
        return self._system

    async def rpc(self) -> "Rpc":
        """The services' gRPC servers; what is asked through it leaves no trace unless told."""
        if "rpc" not in self._made:
            from cli.rpc import Rpc

            self._made["rpc"] = await self._stack.enter_async_context(Rpc(await self.system()))
        return self._made["rpc"]

    async def rest(self) -> "Rest":
        """The gateway, as a customer uses it: every request is traced."""
        if "rest" not in self._made:
            from cli.rest import Rest

            self._made["rest"] = await self._stack.enter_async_context(Rest((await self.system()).gateway_url))
        return self._made["rest"]

    async def traces(self) -> "Traces":
        """The trace store's query API."""
        if "traces" not in self._made:
            from cli.traces import Traces

            self._made["traces"] = await self._stack.enter_async_context(Traces(await self.system()))
        return self._made["traces"]


def runs(command: Callable[Concatenate[Session, P], Awaitable[None]]) -> Callable[P, None]:
    """Make a coroutine function a command: it gets a Session, and the options that every command has."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON: one document, or one object a line.")
    @click.option(
        "--system",
        "chosen",
        type=click.Choice(["embedded", "containers"]),
        envvar="SHOP_SYSTEM",
        help="Which system to ask, if two run.  [env: SHOP_SYSTEM]",
    )
    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        output, chosen = Output(as_json=kwargs.pop("as_json")), kwargs.pop("chosen") or ""

        async def whole() -> None:
            async with AsyncExitStack() as stack:
                await command(Session(output, chosen, stack), *args, **kwargs)

        asyncio.run(whole())

    return run
