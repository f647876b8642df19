"""One embedded system for all that only ask or order, and `./shop` pointed at it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cli.tests.commands import Commands
from infra.local.ports import Ports
from infra.local.system import System

# Short enough for a test to outwait.
SETTINGS = {
    "order": {
        "RESERVE_DEADLINE_SECONDS": "3",
        "COMPENSATION_RETRY_SECONDS": "0.5",
        "PARK_AFTER_SECONDS": "1",
    },
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system() -> AsyncIterator[System]:
    async with System(ports=Ports.free(), environment=SETTINGS) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shop(system: System, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Commands]:
    folder = tmp_path_factory.mktemp("run")
    with system.found_in(folder):
        yield Commands(SHOP_FOLDER=str(folder), SHOP_SYSTEM="embedded")
