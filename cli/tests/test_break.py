"""`shop break` on the embedded system: broken as long as the command runs, and healed however it ends."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from catalogue import PARTS
from cli.tests.commands import Commands, ended, line
from infra.local.ports import Ports
from infra.local.system import System

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS = 60


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    async with System(ports=Ports.free()) as system:
        yield system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(system: System, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Commands]:
    folder: Path = tmp_path_factory.mktemp("run")
    with system.found_in(folder):
        yield Commands(SHOP_FOLDER=str(folder), SHOP_SYSTEM="embedded")


def about(system: System, name: str) -> dict[str, Any]:
    return next(part for part in system.state()["parts"] if part["name"] == name)


async def heals(system: System, name: str) -> None:
    async with asyncio.timeout(SECONDS):
        while about(system, name)["broken"] or not about(system, name)["is_ready"]:  # noqa: ASYNC110 - all that changes
            await asyncio.sleep(0.01)


async def test_a_part_is_broken_for_its_time_and_ready_when_the_command_ends(system: System, shop: Commands) -> None:
    """It says so in two lines, and ends well."""
    process = await shop.start("break", "gateway", "--for", "0.5", "--json")
    assert await line(process) == {"part": "gateway", "state": "broken", "how": "stop", "forSeconds": 0.5}
    assert about(system, "gateway")["broken"] == "stopped"
    healed = await line(process)
    assert (about(system, "gateway")["broken"], about(system, "gateway")["is_ready"]) == ("", True)
    assert (healed["state"], 0.5 <= healed["brokenSeconds"] < 5) == ("running", True)
    assert (await ended(process)).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_is_the_normal_end(system: System, shop: Commands, number: signal.Signals) -> None:
    """So is a SIGTERM: the part is healed, and the exit code is 0."""
    process = await shop.start("break", "card-network", "--how", "freeze", "--json")
    await line(process)
    assert about(system, "card-network")["broken"] == "frozen"
    process.send_signal(number)
    assert (await line(process))["state"] == "running"
    assert about(system, "card-network")["broken"] == ""
    assert (await ended(process)).code == 0


async def test_a_command_that_is_killed_heals_what_it_broke(system: System, shop: Commands) -> None:
    """SIGKILL gives it no chance to."""
    process = await shop.start("break", "jaeger", "--json")
    await line(process)
    assert about(system, "traces")["broken"] == "stopped"
    process.kill()
    await ended(process)
    await heals(system, "traces")


async def test_kafka_goes_down_and_keeps_its_messages(system: System, shop: Commands) -> None:
    """The mock broker forgets all when it ends: nobody has to know that."""
    process = await shop.start("break", "kafka", "--json")
    assert (await line(process))["how"] == "down"
    process.send_signal(signal.SIGINT)
    assert (await ended(process)).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nobody",), 5, f"There is no part nobody; there are {', '.join(PARTS)}."),
        (("kafka", "--how", "stop"), 3, "./shop break kafka --how down"),
        (("order", "--how", "cut"), 3, "cut works in containers"),
        (("order", "--how", "down"), 3, "Only Kafka can be down"),
        (("order", "--how", "shout"), 2, "'shout' is not one of"),
        (("order", "--for", "0"), 2, "0 is not in the range"),
        ((), 2, "Missing argument 'THING'"),
    ],
)
async def test_what_cannot_be_broken_is_said_with_an_exit_code(
    shop: Commands, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Clear about what goes instead, and nothing on standard output."""
    failed = await shop.run("break", *arguments)
    assert (failed.code, failed.out) == (code, "")
    assert words in failed.errors


async def test_a_part_that_is_broken_already_is_left_to_who_broke_it(system: System, shop: Commands) -> None:
    """Exit code 6; the first command goes on."""
    process = await shop.start("break", "gateway", "--how", "freeze", "--json")
    await line(process)
    second = await shop.run("break", "gateway")
    assert (second.code, second.errors) == (6, "It is broken already: gateway is frozen.\n")
    assert about(system, "gateway")["broken"] == "frozen"
    process.send_signal(signal.SIGINT)
    assert (await ended(process)).code == 0


async def test_a_learner_is_told_what_to_look_at_meanwhile(shop: Commands) -> None:
    """What was done, what it means, what to try, how it ends; the deadline is the one that holds."""
    said = await shop.run("break", "payment", "--how", "freeze", "--for", "0.1")
    assert said.code == 0
    assert said.out.splitlines()[0].startswith("payment is frozen: it stands still;")
    assert "until the deadline (30 s) turns it back" in said.out
    assert "Try it:\n  ./shop order place --watch\n  ./shop sagas list\n" in said.out
    assert "It heals after 0.1 s, or at Ctrl-C." in said.out
    assert said.out.splitlines()[-1].startswith("payment is healed")


async def test_a_narrow_terminal_cuts_no_command(shop: Commands) -> None:
    """60 columns: sentences are wrapped, and the time that is left shows."""
    code, said = await shop.in_terminal(60, "break", "jaeger", "--how", "freeze", "--for", "1.5")
    assert code == 0
    assert "  ./shop order place\r\n" in said
    assert "jaeger is frozen, " in said
    assert "s left" in said
