"""`shop outbox`: what was promised and not taken yet, how long, and why."""

from typing import Any

import pytest

from chassis.testing import eventually
from cli.tests.commands import Commands
from cli.tests.orders import decided, plain, without
from infra.local.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def at_rest(shop: Commands) -> None:
    """Whatever other tests have begun is sent."""

    async def nothing_waits() -> bool:
        found = (await shop.run("outbox", "--json")).json
        return not any(each[kind]["count"] for each in found for kind in ("events", "commands"))

    await eventually(nothing_waits, seconds_max=30)


async def test_where_nothing_waits_it_says_so(shop: Commands) -> None:
    await at_rest(shop)
    said = await shop.run("outbox")
    assert said.out == "Nothing waits: Kafka has every event, and every command was accepted.\n"


async def test_events_wait_for_a_broker_that_is_away(shop: Commands, system: System) -> None:
    """Which ones, of which order, how long, and that nothing is to be done."""
    await at_rest(shop)
    async with without(system, "broker", "down"):
        order = (await shop.run("order", "place", "--json")).json
        [found] = (await shop.run("outbox", "order", "--json")).json
        said = await shop.run("outbox", "order")
    [row] = found["events"]["rows"]
    assert (row["orderId"], row["traceId"]) == (order["orderId"], order["traceId"])
    assert (row["type"], row["sequence"], row["ageSeconds"] > 0) == ("shop.order.v1.OrderPlaced", 1, True)
    title, why, header, event = said.out.splitlines()
    assert (title, why) == (
        "order: 1 event waiting",
        "  Kafka does not answer; they go out by themselves when it does.",
    )
    assert (header.split()[0], event.split()[:3]) == ("order", [order["orderId"], "OrderPlaced", "#1"])


async def test_a_command_waits_for_a_service_that_is_away(shop: Commands, system: System) -> None:
    """That it was tried, when it is tried next, and who does not answer."""
    await at_rest(shop)
    # A service that was away for an earlier test counts as gone until it has taken a command, and probes are no tries.
    await decided(shop)
    async with without(system, "inventory"):
        order = (await shop.run("order", "place", "--json")).json

        async def tried() -> dict[str, Any] | None:
            [found] = (await shop.run("outbox", "order", "--json")).json
            rows = found["commands"]["rows"]
            # The payment's is called too, and taken.
            return rows[0] if len(rows) == 1 and rows[0]["tries"] > 0 else None

        row = await eventually(tried, seconds_max=15)
        code, text = await shop.in_terminal(60, "outbox", "order")
    assert row is not None
    assert (row["orderId"], row["step"], row["why"]) == (
        order["orderId"],
        "reserve_stock",
        "inventory does not answer",
    )
    assert (code, order["orderId"] in plain(text).splitlines()) == (0, True)


async def test_a_service_that_is_away_sends_nothing(shop: Commands, system: System) -> None:
    """What it had promised waits with it, and its table says so although it does not run."""
    await at_rest(shop)
    async with without(system, "broker", "down"):
        await shop.run("order", "place")
        async with without(system, "order"):
            said = await shop.run("outbox", "order")
    assert "order does not answer; its relay runs in it." in said.out


async def test_only_a_service_of_the_shop_has_an_outbox(shop: Commands) -> None:
    said = await shop.run("outbox", "gateway")
    assert (said.code, "'gateway' is not one of 'order', 'payment', 'inventory'" in said.errors) == (2, True)
