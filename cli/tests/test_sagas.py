"""`shop sagas`: those that wait for a person, and the command of one sent again."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from chassis.testing import eventually
from cli.tests.commands import Commands
from cli.tests.orders import UNKNOWN, decided, without
from infra.local.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def parked(shop: Commands) -> list[dict[str, Any]]:
    return (await shop.run("sagas", "list", "--parked", "--json")).json


@pytest_asyncio.fixture(loop_scope="session")
async def stuck(shop: Commands, system: System) -> AsyncIterator[str]:
    """An order whose saga is parked: inventory is away for longer than anybody waits."""
    async with without(system, "inventory"):
        order = (await shop.run("order", "place", "--json")).json

        async def is_parked() -> bool:
            return order["orderId"] in [saga["orderId"] for saga in await parked(shop)]

        await eventually(is_parked, seconds_max=40)
        yield order["orderId"]


async def test_a_parked_saga_is_listed_and_retried(shop: Commands, system: System, stuck: str) -> None:
    """Its command is sent again; what comes of it, and the trace of the operator's request, are told."""
    said = await shop.run("sagas", "list", "--parked")
    [row] = [line.split() for line in said.out.splitlines() if line.startswith(stuck)]
    assert (row[0], row[1], row[-1]) == (stuck, "RELEASING_STOCK", "RESERVATION_TIMED_OUT")
    assert "./shop sagas retry ORDER_ID" in said.out
    retried = await shop.run("sagas", "retry", stuck)
    assert (retried.code, f"The saga of order {stuck} goes on: RELEASING_STOCK" in retried.out) == (0, True)
    [address] = [line.removeprefix("Trace ") for line in retried.out.splitlines() if line.startswith("Trace ")]
    assert address.startswith(f"{system.traces_url}/trace/")


async def test_a_saga_that_is_not_parked_is_not_retried(shop: Commands) -> None:
    """Exit code 6; an order that does not exist is 5."""
    order = await decided(shop, "--sku", "no-such", "--quantity", "1")
    said = await shop.run("sagas", "retry", order["orderId"])
    assert (said.code, said.errors) == (6, f"the saga of order {order['orderId']} is not parked\n")
    said = await shop.run("sagas", "retry", UNKNOWN)
    assert (said.code, said.errors) == (5, f"order {UNKNOWN} does not exist\n")


async def test_sagas_are_listed_by_their_step(shop: Commands) -> None:
    """Those whose step began first come first."""
    order = await decided(shop, "--sku", "no-such", "--quantity", "1")
    rejected = (await shop.run("sagas", "list", "--step", "rejected", "--limit", "1000", "--json")).json
    assert rejected[-1]["orderId"] == order["orderId"]
    assert {saga["step"] for saga in rejected} == {"REJECTED"}
    wrong = await shop.run("sagas", "list", "--step", "SLEEPING")
    assert (wrong.code, "'SLEEPING' is not one of" in wrong.errors) == (2, True)
