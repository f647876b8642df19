"""`shop break` and `shop doctor` in containers: stopped, frozen and cut parts, replicas too, heal however it ends."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient

from catalogue import PARTS, TOPICS
from cli.tests.commands import Commands, Ended, ended, line
from infra.containers.system import System, command

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.docker]

SECONDS = 60


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    async with System(replicas={"payment": 2}) as system:
        yield system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(system: System) -> Commands:
    return Commands(SHOP_SYSTEM="containers", **system.environment)


async def confirmed(system: System) -> None:
    """An order goes all its way: through the published port, every service, Kafka and the card network."""
    body = {"customerId": "ada", "cardToken": "tok_visa", "lines": [{"sku": "espresso-beans", "quantity": 1}]}
    async with httpx.AsyncClient(base_url=system.gateway_url, timeout=15, trust_env=False) as client:
        order = (await client.post("/v1/orders", json=body)).json()
        async with asyncio.timeout(SECONDS):
            while order["status"] == "PENDING":
                await asyncio.sleep(0.1)
                order = (await client.get(f"/v1/orders/{order['orderId']}")).json()
    assert order["status"] == "CONFIRMED", order


async def topics(system: System) -> set[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=system.kafka)
    await admin.start()
    try:
        return set(await admin.list_topics())
    finally:
        await admin.close()


async def states(system: System, name: str) -> set[str]:
    """Of every replica: running, paused, exited; and how many networks it is on."""
    shown = "{{.State.Status}} {{len .NetworkSettings.Networks}}"
    return set((await command("docker", "inspect", "--format", shown, *await system.ids(name))).splitlines())


def findings(said: Ended) -> dict[str, dict[str, Any]]:
    return {finding["about"]: finding for finding in json.loads(said.out)["findings"]}


async def test_containers_at_their_best_are_well(shop: Commands) -> None:
    """Every replica, every topic, every reader."""
    said = await shop.run("doctor", "--json")
    if said.code:
        # A machine that is busy with the start may be slower than a look waits.
        said = await shop.run("doctor", "--json")
    assert said.code == 0, said.out
    assert [(finding["about"], finding["verdict"]) for finding in said.json["findings"]] == [
        (name, "well") for name in (*PARTS, "settings")
    ]
    assert findings(said)["payment"]["what"].count("127.0.0.1:") == 2


@pytest.mark.parametrize(
    ("part", "how", "broken"),
    [
        ("order", "stop", "exited 1"),
        ("payment", "cut", "running 0"),
        ("gateway", "cut", "running 0"),
        ("kafka", "cut", "running 0"),
        ("postgres", "freeze", "paused 1"),
        ("card-network", "cut", "running 0"),
        ("jaeger", "stop", "exited 2"),
    ],
)
async def test_a_broken_part_heals_and_the_shop_works_again(
    system: System, shop: Commands, part: str, how: str, broken: str
) -> None:
    """Every replica of it; published ports and names are as before."""
    before = await states(system, part)
    process = await shop.start("break", part, "--how", how, "--json")
    await line(process)
    assert await states(system, part) == {broken}
    process.send_signal(signal.SIGINT)
    assert (await line(process))["state"] == "running"
    assert (await ended(process)).code == 0
    assert await states(system, part) == before
    await confirmed(system)
    assert await topics(system) >= set(TOPICS)


@pytest.mark.parametrize("how", ["stop", "cut"])
async def test_a_command_that_is_killed_heals_what_it_broke(system: System, shop: Commands, how: str) -> None:
    """SIGKILL gives it no chance to: its guardian does."""
    process = await shop.start("break", "inventory", "--how", how, "--json")
    await line(process)
    assert await states(system, "inventory") != {"running 1"}
    process.kill()
    await ended(process)
    async with asyncio.timeout(SECONDS):
        while await states(system, "inventory") != {"running 1"}:  # noqa: ASYNC110 - the guardian tells nobody
            await asyncio.sleep(0.1)
        await system.ready("inventory")
    await confirmed(system)


async def test_what_is_broken_is_found_and_not_broken_again(system: System, shop: Commands) -> None:
    """The doctor names it and both ways to heal it; a second command leaves it to who broke it, exit code 6."""
    process = await shop.start("break", "payment", "--how", "freeze", "--json")
    await line(process)
    second, said = await asyncio.gather(shop.run("break", "payment"), shop.run("doctor", "--json"))
    process.send_signal(signal.SIGINT)
    assert (await ended(process)).code == 0
    assert (second.code, second.errors.startswith("It is broken already: payment is frozen;")) == (6, True)
    found = findings(said)["payment"]
    assert (said.code, found["verdict"], found["commands"]) == (1, "wrong", ["docker compose unpause payment"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nobody",), 5, f"There is no part nobody; there are {', '.join(PARTS)}."),
        (("kafka", "--how", "down"), 3, "stopped, frozen or cut"),
    ],
)
async def test_what_cannot_be_broken_is_said_with_an_exit_code(
    shop: Commands, arguments: tuple[str, ...], code: int, words: str
) -> None:
    failed = await shop.run("break", *arguments)
    assert (failed.code, failed.out) == (code, "")
    assert words in failed.errors
