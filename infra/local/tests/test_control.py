"""Who holds a connection to the control socket keeps a part broken; it heals however the connection ends."""

import asyncio
import json
import signal
import stat
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
import pytest_asyncio

from catalogue import DEADLINES
from infra.local.ports import Ports
from infra.local.run_folder import RunFolder
from infra.local.system import System
from infra.local.tests.test_supervisor import is_alive, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS = 60
CLIENT = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(sys.argv[2].encode() + b"\\n")
print(connection.recv(1024).decode(), flush=True)
connection.recv(1024)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    async with System(ports=Ports.free(), environment={"order": {"CHARGE_DEADLINE_SECONDS": "7.5"}}) as system:
        yield system


async def asked(system: System, request: Any) -> tuple[dict[str, Any], asyncio.StreamWriter]:
    """The answer to a request, and the connection, which the caller closes."""
    reader, writer = await asyncio.open_unix_connection(system.state()["control"])
    writer.write(json.dumps(request).encode() + b"\n")
    async with asyncio.timeout(SECONDS):
        return json.loads(await reader.readline()), writer


@asynccontextmanager
async def broken(system: System, part: str, how: str) -> AsyncGenerator[None]:
    """Broken inside the block; healed and ready when it has ended."""
    answer, writer = await asked(system, {"break": part, "how": how})
    assert answer == {"ok": True}
    try:
        yield
    finally:
        writer.close()
        await writer.wait_closed()
    await heals(system, part)


async def refused(system: System, request: Any) -> tuple[str, str]:
    answer, writer = await asked(system, request)
    writer.close()
    await writer.wait_closed()
    return answer["error"], answer["why"]


def about(system: System, name: str) -> dict[str, Any]:
    return next(part for part in system.state()["parts"] if part["name"] == name)


async def heals(system: System, name: str) -> None:
    async with asyncio.timeout(SECONDS):
        while about(system, name)["broken"] or not about(system, name)["is_ready"]:  # noqa: ASYNC110 - all that changes
            await asyncio.sleep(0.01)


async def answers(system: System, seconds: float) -> bool:
    async with httpx.AsyncClient(base_url=system.gateway_url, trust_env=False) as client:
        try:
            return (await client.get("/healthz", timeout=seconds)).is_success
        except httpx.TransportError:
            return False


async def placed(system: System) -> str:
    body = {"customerId": "ada", "cardToken": "tok_visa", "lines": [{"sku": "espresso-beans", "quantity": 1}]}
    async with httpx.AsyncClient(base_url=system.gateway_url, timeout=SECONDS, trust_env=False) as client:
        return (await client.post("/v1/orders", json=body)).json()["orderId"]


async def status(system: System, order_id: str) -> str:
    async with httpx.AsyncClient(base_url=system.gateway_url, timeout=SECONDS, trust_env=False) as client:
        return (await client.get(f"/v1/orders/{order_id}")).json()["status"]


async def confirmed(system: System, order_id: str) -> None:
    async with asyncio.timeout(SECONDS):
        while (now := await status(system, order_id)) == "PENDING":  # noqa: ASYNC110 - all that a customer can do
            await asyncio.sleep(0.05)
    assert now == "CONFIRMED"


async def test_a_stopped_part_stays_so_until_the_connection_ends(system: System) -> None:
    """Its restart is held, and comes when it is healed."""
    pid = system.pid("gateway")
    async with broken(system, "gateway", "stop"):
        assert not is_alive(pid)
        assert (about(system, "gateway")["broken"], about(system, "gateway")["is_ready"]) == ("stopped", False)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(system.ready("gateway"), 0.5)
    assert system.pid("gateway") != pid
    assert await answers(system, SECONDS)


async def test_a_frozen_part_answers_nothing_until_the_connection_ends(system: System) -> None:
    """And it is the same process then."""
    pid = system.pid("gateway")
    async with broken(system, "gateway", "freeze"):
        assert about(system, "gateway")["broken"] == "frozen"
        assert not await answers(system, 0.5)
    assert await answers(system, SECONDS)
    assert system.pid("gateway") == pid


async def test_a_frozen_database_answers_nobody_that_is_connected_already(system: System) -> None:
    """PostgreSQL works in children, one for each connection: they stand still too."""
    connection = await asyncpg.connect(system.database_url("order").replace("+asyncpg", ""))
    try:
        async with broken(system, "postgres", "freeze"):
            query = asyncio.ensure_future(connection.fetchval("SELECT 1"))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(query), 0.5)
        async with asyncio.timeout(SECONDS):
            assert await query == 1
    finally:
        await connection.close()


async def test_an_order_placed_while_the_broker_is_down_is_confirmed_after_it(system: System) -> None:
    """It is accepted and waits."""
    async with broken(system, "broker", "down"):
        assert about(system, "broker")["broken"] == "stopped"
        order_id = await placed(system)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(confirmed(system, order_id), 1)
    await confirmed(system, order_id)


@pytest.mark.parametrize("part", ["traces", "card-network", "postgres"])
async def test_a_store_can_be_stopped_and_comes_back(system: System, part: str) -> None:
    """The shop works again then."""
    async with broken(system, part, "stop"):
        assert not is_alive(about(system, part)["pid"])
    await confirmed(system, await placed(system))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_client_that_is_killed_heals_what_it_broke(system: System, number: signal.Signals) -> None:
    """SIGKILL gives it no chance to say anything."""
    request = json.dumps({"break": "card-network", "how": "stop"})
    arguments = (sys.executable, "-S", "-c", CLIENT, system.state()["control"], request)
    client = await asyncio.create_subprocess_exec(*arguments, stdout=PIPE)
    assert client.stdout is not None
    async with asyncio.timeout(SECONDS):
        assert json.loads(await client.stdout.readline()) == {"ok": True}
    assert about(system, "card-network")["broken"] == "stopped"
    client.send_signal(number)
    await client.wait()
    await heals(system, "card-network")


async def test_a_part_is_broken_once(system: System) -> None:
    """The second wish is refused, and the first goes on."""
    async with broken(system, "gateway", "freeze"):
        error, why = await refused(system, {"break": "gateway", "how": "stop"})
        assert (error, why) == ("state", "It is broken already: gateway is frozen.")
        assert about(system, "gateway")["broken"] == "frozen"


@pytest.mark.parametrize(
    ("request_line", "words"),
    [
        ({"break": "broker", "how": "stop"}, "can only be down"),
        ({"break": "broker", "how": "freeze"}, "can only be down"),
        ({"break": "order", "how": "down"}, "Only Kafka can be down"),
        ({"break": "order", "how": "cut"}, "cut works in containers"),
        ({"break": "nobody", "how": "stop"}, "parts are "),
        ({"break": "order", "how": "shout"}, "ways stop, freeze, down"),
        (["order"], "parts are "),
    ],
)
async def test_what_is_impossible_is_refused_with_what_goes_instead(
    system: System, request_line: Any, words: str
) -> None:
    error, why = await refused(system, request_line)
    assert error == "impossible"
    assert words in why


async def test_the_socket_is_nobody_elses(system: System) -> None:
    """Only who runs the system enters its folder."""
    control = Path(system.state()["control"])
    assert stat.S_IMODE(control.parent.stat().st_mode) == stat.S_IRWXU
    assert len(str(control)) <= 100


async def test_the_state_says_where_rpcs_go_and_which_waits_hold(system: System) -> None:
    """A setting that was given, and the defaults of the others."""
    state = system.state()
    assert about(system, "order")["grpc"] == f"127.0.0.1:{system.ports.order_grpc}"
    assert set(state["settings"]) == {name for names in DEADLINES.values() for name in names}
    assert (state["settings"]["CHARGE_DEADLINE_SECONDS"], state["settings"]["SILENCE_SECONDS"]) == (7.5, 45.0)


async def test_a_folder_that_finds_the_system_has_its_state_as_it_changes(system: System, tmp_path: Path) -> None:
    """Broken, not ready, ready again; and nothing when it is let go."""
    folder = RunFolder(tmp_path)

    def written() -> tuple[str, bool]:
        state = folder.read_state()
        assert state is not None
        gateway = next(part for part in state["parts"] if part["name"] == "gateway")
        return gateway["broken"], gateway["is_ready"]

    with system.found_in(tmp_path):
        assert folder.runner() is not None
        assert written() == ("", True)
        async with broken(system, "gateway", "stop"):
            assert written() == ("stopped", False)
        await until(lambda: written() == ("", True))
    assert (folder.runner(), folder.read_state()) == (None, None)


END_BROKEN = (("order", "stop"), ("postgres", "freeze"), ("gateway", "freeze"), ("broker", "down"))


# Last in this module: it ends the system that the others share.
async def test_a_system_ends_at_once_while_parts_are_broken(system: System) -> None:
    """What is stopped or frozen, the database with its children too, does not hold it up, and nothing is left."""
    control = system.state()["control"]
    answers = [await asked(system, {"break": part, "how": how}) for part, how in END_BROKEN]
    assert [answer for answer, _ in answers] == [{"ok": True}] * len(END_BROKEN)
    processes = [each for part in system.state()["parts"] for each in _family(part["pid"])]
    begin = time.monotonic()
    await system.__aexit__(None, None, None)
    assert time.monotonic() - begin < 10
    assert not any(process.is_running() for process in processes)
    assert not Path(control).parent.exists()
    for _, writer in answers:
        writer.close()
        await writer.wait_closed()


def _family(pid: int) -> list[psutil.Process]:
    """A process and what is below it; nothing of one that has ended."""
    if not psutil.pid_exists(pid):
        return []
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]
