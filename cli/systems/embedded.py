"""The embedded system: its runner wrote down where everything is, and listens for what is to be broken."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from catalogue import PARTS
from cli.failures import Impossible, NoSystem, ProgramFailed, Unknown, WrongState
from cli.systems.running import How, Part, Program, Replica, State
from infra.local.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
# What the runner calls them.
NAMES = {"kafka": "broker", "jaeger": "traces"}
ANSWER_SECONDS_MAX = 20.0
POLL_SECONDS = 0.05
ENDED = "The embedded system has ended."


def find() -> "Embedded | None":
    """The system that runs in this checkout's folder, or in SHOP_FOLDER.

    Raises:
        NoSystem: it is still starting.
    """
    folder = RunFolder(Path(os.environ.get("SHOP_FOLDER", ROOT / ".run")).resolve())
    pid, state = folder.runner(), folder.read_state()
    if pid is None:
        return None
    if state is None:
        raise NoSystem(f"The embedded system is still starting, as process {pid}; try again in a moment.")
    return Embedded(folder, state)


class Embedded:
    """What the runner's state file says, and its control socket."""

    kind: Literal["embedded", "containers"] = "embedded"

    def __init__(self, folder: RunFolder, state: dict[str, Any]) -> None:
        self._folder, self._state = folder, state
        self.gateway_url: str = state["gateway_url"]
        self.traces_url: str = state["traces_url"]
        # A runner that was started before an upgrade has not written it.
        self.otlp: str = state.get("otlp", "")
        self.card_network_url: str = state["card_network_url"]
        self.kafka: str = state["kafka"]

    def page(self, trace_id: str) -> str:
        return f"{self.traces_url}/trace/{trace_id}"

    def order_page(self, order_id: str) -> str:
        return f"{self.gateway_url}/#/orders/{order_id}"

    async def replicas(self, service: str) -> list[Replica]:
        part = self._parts()[service]
        return [Replica(service, f"process {part['pid']}", part["grpc"])]

    async def settings(self) -> Mapping[str, float]:
        return self._state["settings"]

    async def parts(self) -> list[Part]:
        known = self._parts()
        found: list[Part] = []
        for name in PARTS:
            part = known[NAMES.get(name, name)]
            state: State = part["broken"] or ("running" if part["is_ready"] else "starting")
            detail = "" if state == "stopped" and name != "kafka" else f"process {part['pid']}"
            found.append(Part(name, state, part["address"], detail))
        return found

    def psql(self, service: str, *options: str, interactive: bool = False) -> Program:
        postgres = self._state["postgres"]
        where = f"host=127.0.0.1 port={postgres['port']} user={service}_reader dbname={service}"
        # A password of the user's own would come before the file.
        environment = {"PGPASSFILE": postgres["passfile"], "PGPASSWORD": ""}
        return Program((postgres["psql"], "--no-psqlrc", "--dbname", where, *options), environment)

    async def run(self, program: Program) -> str:
        process = await asyncio.create_subprocess_exec(
            *program.arguments,
            env={**os.environ, **program.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await process.communicate()
        finally:
            # Nobody waits for it any more.
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise ProgramFailed(program.arguments[0], errors.decode(errors="replace").strip())
        return output.decode()

    @asynccontextmanager
    async def broken(self, part: str, how: How) -> AsyncGenerator[None]:
        """The runner keeps the part broken as long as this connection lives, however this process ends."""
        if part not in PARTS:
            raise Unknown(f"There is no part {part}; there are {', '.join(PARTS)}.")
        try:
            reader, writer = await asyncio.open_unix_connection(self._state["control"])
        except OSError:
            raise NoSystem(ENDED) from None
        try:
            writer.write(json.dumps({"break": NAMES.get(part, part), "how": how}).encode() + b"\n")
            match await _answer(reader):
                case {"error": "impossible", "why": why}:
                    raise Impossible(why)
                case {"error": "state", "why": why}:
                    raise WrongState(why)
                case _:
                    yield
        finally:
            writer.close()
            # What is lost then is the connection, which is all that this wants.
            with suppress(OSError):
                await writer.wait_closed()

    async def ready(self, part: str) -> None:
        name = NAMES.get(part, part)
        while (found := self._parts()[name])["broken"] or not found["is_ready"]:  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(POLL_SECONDS)

    async def scale(self, counts: Mapping[str, int]) -> None:
        raise Impossible(
            "The embedded system runs one process of each service: its Kafka is a mock broker, whose groups have one"
            " member. In containers: docker compose up --detach --wait --scale order=2"
        )

    def _parts(self) -> dict[str, Any]:
        state = self._folder.read_state()
        if state is None:
            raise NoSystem(ENDED)
        return {part["name"]: part for part in state["parts"]}


async def _answer(reader: asyncio.StreamReader) -> dict[str, Any]:
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            line = await reader.readline()
    except (OSError, TimeoutError):
        line = b""
    if not line:
        raise NoSystem("The embedded system's runner does not answer; its log is .run/runner.log.")
    return json.loads(line)
