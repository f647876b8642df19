"""Which system runs here: the embedded one of this checkout, the containers of this project, or none."""

import os

from cli.failures import NoSystem
from cli.systems.running import Running

NOTHING = """\
Nothing runs here. Start the shop first:
  make start                              embedded, in the background: Python 3.11 is all it needs
  docker compose up --detach --wait       in containers"""
TWO = "Two systems run here, embedded and in containers: choose one with --system, or set SHOP_SYSTEM."


async def running_system(chosen: str) -> Running:
    """The system that runs, or the one of two that was chosen.

    Raises:
        NoSystem: it does not run, or two run and none was chosen.
    """
    # Inside the tools image the addresses are those of the containers' network, and there is no other system.
    if os.environ.get("SHOP_INSIDE"):
        from cli.systems.containers import inside

        return await inside()
    # One after the other: a program that is cancelled while asyncio starts it can hang, and the first reads a file.
    embedded = await _embedded(chosen != "containers")
    containers = await _containers(chosen != "embedded")
    if embedded and containers:
        raise NoSystem(TWO)
    found = embedded or containers
    if found is None:
        raise NoSystem(f"The {chosen} system does not run.\n{NOTHING}" if chosen else NOTHING)
    return found


async def _embedded(wanted: bool) -> Running | None:
    from cli.systems.embedded import find

    return find() if wanted else None


async def _containers(wanted: bool) -> Running | None:
    from cli.systems.containers import find

    return await find() if wanted else None
