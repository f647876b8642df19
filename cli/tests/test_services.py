"""`shop services`: what runs where, as each process itself says."""

import httpx
import pytest

from chassis.version import VERSION
from cli.tests.commands import Commands
from cli.tests.orders import decided, plain, without
from infra.local.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_each_process_says_who_it_is(shop: Commands, system: System) -> None:
    """Address, health, version, methods; the card network is an outside party, and has no version."""
    rows = {row["service"]: row for row in (await shop.run("services", "--json")).json}
    assert list(rows) == ["gateway", "order", "payment", "inventory", "card-network"]
    assert {row["health"] for row in rows.values()} == {"SERVING"}
    assert {name for name, row in rows.items() if row["version"] == VERSION} == {*rows} - {"card-network"}
    assert rows["order"]["address"] == f"127.0.0.1:{system.ports.order_grpc}"
    methods = {each["name"]: each["stream"] for each in rows["order"]["methods"]["shop.order.v1.OrderService"]}
    assert (methods["PlaceOrder"], methods["WatchOrder"]) == (False, True)


async def test_the_instance_is_what_its_spans_call_it(shop: Commands, system: System) -> None:
    """So that a span leads to the process that made it."""
    order = await decided(shop)
    await shop.run("order", "trace", order["orderId"], "--follow")
    instances = {row["service"]: row["instance"] for row in (await shop.run("services", "--json")).json}
    async with httpx.AsyncClient() as client:
        trace = (await client.get(f"{system.traces_url}/api/v3/traces/{order['traceId']}")).json()
    spoke = {
        values["service.name"]: values["service.instance.id"]
        for each in trace["result"]["resourceSpans"]
        for values in [{item["key"]: item["value"].get("stringValue") for item in each["resource"]["attributes"]}]
    }
    assert {name: spoke[name] for name in ("order", "payment", "inventory")} == {
        name: instances[name] for name in ("order", "payment", "inventory")
    }


async def test_what_is_down_is_listed_as_down(shop: Commands, system: System) -> None:
    """Stopped or frozen: the command ends all the same, and soon."""
    async with without(system, "inventory", "freeze"), system.broken("payment", "stop"):
        rows = {row["service"]: row for row in (await shop.run("services", "--json")).json}
    assert (rows["payment"]["health"], rows["inventory"]["health"]) == ("stopped", "frozen")
    assert (rows["order"]["health"], rows["payment"]["methods"]) == ("SERVING", {})


async def test_a_narrow_terminal_shows_whole_addresses(shop: Commands, system: System) -> None:
    code, text = await shop.in_terminal(60, "services")
    assert code == 0
    assert f"address {system.gateway_url}" in plain(text)
