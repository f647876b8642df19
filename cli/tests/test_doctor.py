"""`shop doctor` on the embedded system: what is well, what is wrong, why it matters, what to do."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from catalogue import DEADLINES, PARTS
from cli.doctor.settings import judged
from cli.tests.commands import Commands, Ended, ended, line
from infra.local.ports import Ports
from infra.local.probes import http_ok
from infra.local.system import System

pytestmark = pytest.mark.asyncio(loop_scope="module")

# One look's patience, and on a busy machine a command's own start; one look after the other would take longer.
SECONDS_MAX = 9.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    async with System(ports=Ports.free()) as system:
        yield system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(system: System, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Commands]:
    folder: Path = tmp_path_factory.mktemp("run")
    with system.found_in(folder):
        yield Commands(SHOP_FOLDER=str(folder), SHOP_SYSTEM="embedded")


def findings(said: Ended) -> dict[str, dict[str, Any]]:
    """By what they are about."""
    return {finding["about"]: finding for finding in said.json["findings"]}


async def test_a_system_at_its_best_is_well(shop: Commands) -> None:
    """A line for each part and one for the settings; exit code 0."""
    said = await shop.run("doctor", "--json")
    assert said.code == 0, said
    assert (said.json["system"], said.json["isWell"]) == ("embedded", True)
    assert [(finding["about"], finding["verdict"]) for finding in said.json["findings"]] == [
        (name, "well") for name in (*PARTS, "settings")
    ]


async def test_a_person_reads_the_same_and_all_is_well_at_the_end(shop: Commands) -> None:
    """A line each."""
    said = await shop.run("doctor")
    assert (said.code, said.errors) == (0, "")
    lines = said.out.splitlines()
    assert [each.split()[:2] for each in lines[:-1]] == [[name, "well"] for name in (*PARTS, "settings")]
    assert lines[-1] == "All is well."


async def test_what_is_broken_on_purpose_is_named_with_the_command_that_heals_it(shop: Commands) -> None:
    """And the gateway, which misses it, says whom it misses; exit code 1."""
    breaking = await shop.start("break", "order", "--how", "freeze", "--json")
    await line(breaking)
    said = await shop.run("doctor", "--json")
    breaking.send_signal(signal.SIGINT)
    assert (await ended(breaking)).code == 0
    found = findings(said)
    assert (said.code, said.json["isWell"]) == (1, False)
    assert {name for name, finding in found.items() if finding["verdict"] == "wrong"} == {"gateway", "order"}
    assert found["order"]["what"] == "is frozen"
    assert "./shop break order" in found["order"]["do"]
    assert "order does not answer" in found["gateway"]["what"]
    assert all(finding["why"] for finding in found.values() if finding["verdict"] == "wrong")
    assert "Not all is well: gateway, order." in said.errors


async def test_every_look_is_bounded_however_much_is_broken(shop: Commands) -> None:
    """A database and a trace store that stand still, and a broker that is away: it takes no longer than one of them."""
    broken = [await shop.start("break", part, "--json", *how) for part, *how in MUCH]
    for each in broken:
        await line(each)
    begin = time.monotonic()
    said = await shop.run("doctor", "--json")
    seconds = time.monotonic() - begin
    for each in broken:
        each.send_signal(signal.SIGINT)
    assert [(await ended(each)).code for each in broken] == [0] * len(MUCH)
    assert said.code == 1
    wrong = {name for name, finding in findings(said).items() if finding["verdict"] == "wrong"}
    assert wrong >= {"postgres", "jaeger", "kafka", "order"}
    assert seconds < SECONDS_MAX


# The database last: without it a service takes longer to stop.
MUCH = (("order",), ("kafka",), ("jaeger", "--how", "freeze"), ("postgres", "--how", "freeze"))


async def test_dead_letters_that_wait_are_worth_a_note(system: System, shop: Commands) -> None:
    """Nothing is wrong with the system; but somebody should look."""
    producer = AIOKafkaProducer(bootstrap_servers=system.kafka)
    await producer.start()
    try:
        for _ in range(2):
            await producer.send_and_wait("payment.events.dead", b"poison")
    finally:
        await producer.stop()
    # It finds the services again after what other tests did to them.
    async with asyncio.timeout(SECONDS_MAX):
        await http_ok(f"{system.gateway_url}/readyz")()
    said = await shop.run("doctor", "--json")
    assert said.code == 0
    found = findings(said)["dead letters"]
    assert (found["verdict"], found["what"]) == ("note", "2 dead letters wait in payment.events.dead")
    assert found["commands"]


DEFAULTS = {
    "RESERVE_DEADLINE_SECONDS": 20.0,
    "CHARGE_DEADLINE_SECONDS": 30.0,
    "COMPENSATION_RETRY_SECONDS": 10.0,
    "PARK_AFTER_SECONDS": 300.0,
    "CARD_NETWORK_TIMEOUT_SECONDS": 5.0,
    "SILENCE_SECONDS": 45.0,
    "SLOW_SECONDS": 3.0,
}


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"RESERVE_DEADLINE_SECONDS": 2.0}, "RESERVE_DEADLINE_SECONDS=2"),
        ({"CHARGE_DEADLINE_SECONDS": 3.0, "CARD_NETWORK_TIMEOUT_SECONDS": 2.5, "SLOW_SECONDS": 1.0}, "one call (3 s)"),
        ({"CARD_NETWORK_TIMEOUT_SECONDS": 30.0}, "CARD_NETWORK_TIMEOUT_SECONDS=30"),
        ({"SLOW_SECONDS": 5.5}, "SLOW_SECONDS=5.5"),
        ({"SILENCE_SECONDS": 30.0}, "SILENCE_SECONDS=30"),
        ({"PARK_AFTER_SECONDS": 10.0}, "PARK_AFTER_SECONDS=10"),
    ],
)
async def test_settings_that_do_not_fit_are_named_with_what_happens(changed: dict[str, float], named: str) -> None:
    """Each rule alone, by the settings that break it."""
    assert set(DEFAULTS) == {name for names in DEADLINES.values() for name in names}
    (found,) = judged(DEFAULTS | changed)
    assert (found.verdict, bool(found.why), bool(found.do)) == ("wrong", True, True)
    assert named in found.what


@pytest.mark.asyncio(loop_scope="function")
async def test_a_setting_that_is_not_known_is_not_judged() -> None:
    """Containers of another version may not tell all."""
    (found,) = judged({name: value for name, value in DEFAULTS.items() if name != "PARK_AFTER_SECONDS"})
    assert (found.verdict, found.what) == ("well", "6 waits fit each other, by 5 rules")
