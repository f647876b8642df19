"""The verbs on containers: the real Kafka, PostgreSQL and Jaeger, and replicas."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from chassis.testing import eventually
from chassis.version import VERSION
from cli.tests.commands import Commands
from cli.tests.orders import decided
from infra.containers.system import System
from infra.local.run_folder import RunFolder

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.docker]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    async with System(replicas={"inventory": 2}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(system: System) -> Commands:
    return Commands(SHOP_SYSTEM="containers", **system.environment)


async def test_an_order_and_its_traces_are_followed(shop: Commands, system: System) -> None:
    """Jaeger's answers are read like the embedded store's; the broker is called Kafka, which it is."""
    key = str(uuid4())
    order = await decided(shop, "--key", key)
    assert (await shop.run("order", "place", "--key", key)).code == 0
    assert (await shop.run("order", "cancel", order["orderId"])).code == 0
    said = await shop.run("order", "trace", order["orderId"], "--follow")
    titles = [line for line in said.out.splitlines() if line.startswith("Trace of ")]
    assert titles == [f"Trace of order {order['orderId']}", "Trace of the repeated POST", "Trace of the cancel"]
    [process] = [line for line in said.out.splitlines() if line.endswith("process inventory.events StockReserved")]
    assert " Kafka " in process
    assert "mock" not in said.out
    assert f"{system.traces_url}/trace/{order['traceId']}" in said.out
    payment = (await shop.run("payment", order["orderId"], "--json")).json
    assert (payment["state"], payment["ledgerSumMinor"]) == ("REFUNDED", 0)


async def test_every_replica_says_who_it_is(shop: Commands) -> None:
    """Each by its container's name, with an instance of its own."""
    rows = (await shop.run("services", "--json")).json
    replicas = [row for row in rows if row["service"] == "inventory"]
    assert (len(replicas), len({row["instance"] for row in replicas}), len({row["name"] for row in replicas})) == (
        2,
        2,
        2,
    )
    assert {row["health"] for row in rows} == {"SERVING"}
    assert {row["version"] for row in rows if row["service"] != "card-network"} == {VERSION}


async def test_a_method_is_called_by_hand(shop: Commands) -> None:
    said = await shop.run("call", "inventory/GetStock", '{"sku": "sold-out"}')
    assert (said.code, said.json["available"]) == (0, "0")


async def test_events_are_read_and_a_dead_letter_sent_back_once(shop: Commands, system: System) -> None:
    """What was redriven is remembered by a real broker too."""
    poison = str(uuid4())
    async with AIOKafkaProducer(bootstrap_servers=system.kafka) as producer:
        await producer.send_and_wait(
            "inventory.events", b"poison", key=poison.encode(), headers=[("ce_subject", poison.encode())]
        )

    async def dead() -> list[dict[str, str]]:
        letters = (await shop.run("dead-letters", "list", "inventory.events", "--json")).json
        return [letter for letter in letters if letter["orderId"] == poison]

    letters: list[dict[str, str]] = await eventually(dead, seconds_max=30)
    assert [letter["group"] for letter in letters] == ["order.saga"]
    tailed = (await shop.run("events", "tail", "inventory.events", "--no-follow", "--json")).objects
    assert [event["poison"] for event in tailed if event["orderId"] == poison] == ["header content-type is missing"]
    assert (await shop.run("dead-letters", "redrive", letters[0]["id"])).code == 0
    again = await shop.run("dead-letters", "redrive", letters[0]["id"])
    assert (again.code, "was sent back already" in again.errors) == (6, True)


async def test_nothing_waits_in_an_outbox(shop: Commands) -> None:
    """Read by psql in the container, as the role that may only read."""

    async def nothing() -> bool:
        said = await shop.run("outbox")
        assert said.code == 0, said
        return said.out.startswith("Nothing waits")

    await eventually(nothing, seconds_max=30)


async def test_a_topic_that_nobody_knows_is_named(shop: Commands) -> None:
    said = await shop.run("events", "tail", "oder.events")
    assert (said.code, "There is no topic oder.events" in said.errors) == (5, True)


async def test_of_two_systems_one_has_to_be_chosen(system: System, tmp_path: Path) -> None:
    """Which one is meant is for the user to say, by an option or by SHOP_SYSTEM."""
    commands, folder = Commands(SHOP_FOLDER=str(tmp_path), **system.environment), RunFolder(tmp_path)
    # What the embedded runner holds and has written; nothing of it is asked before it is chosen.
    addresses = dict.fromkeys(("gateway_url", "traces_url", "card_network_url", "kafka"), "")
    with folder.claimed():
        folder.write_state(addresses | {"parts": []})
        refused = await commands.run("stock")
        assert (refused.code, refused.out) == (4, "")
        assert "--system" in refused.errors
        assert "SHOP_SYSTEM" in refused.errors
        assert (await commands.run("stock", "--system", "containers")).code == 0
        assert (await commands.beside(SHOP_SYSTEM="containers").run("stock")).code == 0
    assert (await commands.run("stock")).code == 0
