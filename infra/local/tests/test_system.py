"""The whole system: it starts, places orders, survives what a test does to it, and is gone afterwards."""

import asyncio
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
import pytest_asyncio

from infra.local import demo
from infra.local.ports import Ports
from infra.local.run_folder import RunFolder
from infra.local.system import System
from infra.local.tests.test_supervisor import is_alive, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARTS = {"postgres", "broker", "traces", "card-network", "order", "payment", "inventory", "gateway"}
SECONDS = 60


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    async with System(ports=Ports.free(), environment={"card-network": {"SILENCE_SECONDS": "1"}}) as system:
        yield system


async def test_everything_is_ready_once_it_started(system: System) -> None:
    state = system.state()
    assert {part["name"] for part in state["parts"]} == PARTS
    assert all(part["is_ready"] for part in state["parts"])
    async with httpx.AsyncClient(base_url=system.gateway_url, trust_env=False) as client:
        assert (await client.get("/readyz")).status_code == 200


async def test_what_runs_is_said_without_secrets(system: System) -> None:
    password = system.database_url("order").split(":")[2].split("@")[0]
    assert password not in str(system.state())


async def test_the_example_orders_end_as_they_should(system: System) -> None:
    """The demo's own orders, each with a trace of one piece."""
    async with asyncio.timeout(SECONDS):
        outcomes = await demo.place_examples(system.gateway_url, system.traces_url)
    assert [outcome.order["status"] for outcome in outcomes] == [example.status for example in demo.EXAMPLES]
    assert all(outcome.is_as_expected for outcome in outcomes)
    assert all(outcome.trace is not None for outcome in outcomes)


async def test_a_killed_service_comes_back(system: System) -> None:
    first = system.pid("inventory")
    await system.kill("inventory")
    async with asyncio.timeout(SECONDS):
        await system.ready("inventory")
    assert system.pid("inventory") != first


async def test_a_paused_process_stands_still_until_it_is_resumed(system: System) -> None:
    """The gateway answers nothing while it is paused."""
    await system.pause("gateway")
    async with httpx.AsyncClient(base_url=system.gateway_url, trust_env=False) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/healthz", timeout=0.5)
        await system.resume("gateway")
        assert (await client.get("/healthz", timeout=SECONDS)).status_code == 200


async def test_an_order_placed_in_an_outage_is_confirmed_after_it(system: System) -> None:
    """With the broker down the order is accepted and waits; nothing is lost."""
    await system.broker_down()
    async with demo.Demo(system.gateway_url, system.traces_url) as client:
        ending = asyncio.ensure_future(client.outcome(demo.Example(title="placed in an outage")))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(ending), 1)
        await system.broker_up()
        async with asyncio.timeout(SECONDS):
            assert (await ending).is_as_expected


async def test_a_test_can_look_into_the_databases(system: System) -> None:
    url = system.database_url("order").replace("+asyncpg", "")
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM orders") > 0
    finally:
        await connection.close()


async def _runner(*arguments: str) -> tuple[int, str]:
    return await _ended(await _started(*arguments))


async def _started(*arguments: str) -> Process:
    """As from a terminal: what a shell starts in the background ignores SIGINT, and so does whatever it starts."""
    command = (sys.executable, "-m", "infra.local", *arguments)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    finally:
        signal.signal(signal.SIGINT, before)


async def _ended(process: Process) -> tuple[int, str]:
    async with asyncio.timeout(SECONDS):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def _answered(output: str) -> int:
    """How many addresses the output names; each of them answers 200, to curl and to a browser."""
    addresses = set(re.findall(r"http://[^\s']+", output))
    async with httpx.AsyncClient(trust_env=False) as client:
        for address in addresses:
            for accept in ("*/*", "text/html"):
                assert (await client.get(address, headers={"Accept": accept})).status_code == 200, address
    return len(addresses)


async def test_the_system_runs_in_the_background_until_it_is_stopped(tmp_path: Path) -> None:
    folder = ("--folder", str(tmp_path))
    assert await _runner("status", *folder) == (1, "Nothing runs.\n")
    # What a runner that was killed left behind must not pass for the new one's word.
    (tmp_path / "state.json").write_text("{}")
    code, output = await _runner("start", "--free-ports", *folder)
    assert (code, "Everything is ready" in output) == (0, True), output
    assert await _answered(output) >= 7
    code, output = await _runner("status", *folder)
    assert (code, output.count(" ready ")) == (0, len(PARTS)), output
    assert await _answered(output) >= 7
    code, output = await _runner("start", "--free-ports", *folder)
    assert (code, "runs already" in output) == (1, True), output
    assert await _runner("stop", *folder) == (0, "Stopped.\n")
    assert await _runner("status", *folder) == (1, "Nothing runs.\n")


async def test_a_second_interrupt_while_it_stops_leaves_no_process_behind(tmp_path: Path) -> None:
    """The guardian ends what the runner had not ended yet."""
    run = await _started("run", "--free-ports", "--folder", str(tmp_path))
    assert run.stdout is not None
    async with asyncio.timeout(SECONDS):
        await run.stdout.readuntil(b"API")
        await until(lambda: RunFolder(tmp_path).read_state() is not None)
        state = RunFolder(tmp_path).read_state()
        run.send_signal(signal.SIGINT)
        await run.stdout.readuntil(b"Stopping\n")
    run.send_signal(signal.SIGINT)
    assert await _ended(run) == (0, "")
    assert state is not None
    pids = [part["pid"] for part in state["parts"]]
    assert len(pids) == len(PARTS)
    await until(lambda: not any(is_alive(pid) for pid in pids))


async def test_an_interrupted_start_stops_what_it_began(tmp_path: Path) -> None:
    """Nothing goes on in the background, and the exit code is that of an interrupted program."""
    start = await _started("start", "--free-ports", "--folder", str(tmp_path))
    await until((tmp_path / "logs" / "broker.log").exists)
    start.send_signal(signal.SIGINT)
    assert await _ended(start) == (130, "Stopped before it was ready.\n")
    assert await _runner("status", "--folder", str(tmp_path)) == (1, "Nothing runs.\n")


async def test_the_demo_shows_each_order_with_its_steps_and_its_trace_and_ends(tmp_path: Path) -> None:
    code, output = await _runner("demo", "--once", "--free-ports", "--folder", str(tmp_path))
    assert code == 0, output
    charge, waits = "shop.payment.v1.PaymentService/ChargePayment", (" outbox ", " mock broker ", "a real broker adds")
    for words in ("OrderConfirmed", charge, *waits, "try 2", "/docs"):
        assert words in output, words


async def test_every_address_that_the_demo_prints_answers_while_it_runs(tmp_path: Path) -> None:
    """Documentation, metrics, the list of traces, a trace with and without details, and where orders are placed."""
    run = await _started("demo", "--free-ports", "--folder", str(tmp_path))
    assert run.stdout is not None
    output = ""
    try:
        async with asyncio.timeout(SECONDS):
            while "It runs until Ctrl-C." not in output:
                line = await run.stdout.readline()
                assert line, output
                output += line.decode()
        assert await _answered(output) == 11
    finally:
        run.send_signal(signal.SIGINT)
        code, _ = await _ended(run)
    assert code == 0


async def test_a_taken_port_ends_the_start_with_its_setting(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_PORT", str(system.ports.gateway))
    code, output = await _runner("demo", "--folder", str(tmp_path))
    assert code == 1
    assert "set GATEWAY_PORT to another one" in output


# Last in this module: it ends the system that the others share.
async def test_the_death_of_the_broker_is_the_end_of_the_system_and_it_says_why(system: System) -> None:
    """Its messages are gone with it."""
    await system.kill("broker")
    async with asyncio.timeout(SECONDS):
        assert "the messages were in its memory" in await system.failed()
