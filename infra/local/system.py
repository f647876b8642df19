"""The whole system on one machine: what it is made of, in which order it starts, and how a test breaks it.

postgres · broker · traces · card-network   ─▶   order · payment · inventory   ─▶   gateway
"""

import asyncio
import json
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from infra.local import parts
from infra.local.broken_parts import BrokenParts
from infra.local.control import Control
from infra.local.guardian import Guardian
from infra.local.part import Part, Process, answer_of, ask
from infra.local.ports import Ports
from infra.local.postgres import SERVICES, Postgres
from infra.local.run_folder import RunFolder
from infra.local.supervisor import Supervisor, together
from infra.local.usage import usage_of
from infra.local.waits import waits
from infra.system import Usage

_HOST = "127.0.0.1"


def _say_nothing(_: str) -> None:
    pass


class System:
    """`async with System(ports=Ports.free()) as system:` starts everything, and ends it with the block.

    Names of parts are postgres, broker, traces, card-network, order, payment, inventory and gateway.
    """

    def __init__(
        self,
        *,
        ports: Ports,
        folder: Path | None = None,
        environment: Mapping[str, Mapping[str, str]] | None = None,
        say: Callable[[str], None] = _say_nothing,
    ) -> None:
        """Nothing is started yet.

        folder: takes the logs and the card network's ledger; without one they go with the system.
        environment: settings beside the usual ones, by the name of the part that gets them.
        say: is told, in lines for a person, what became ready and what died.
        """
        self.ports = ports
        self.gateway_url = f"http://{_HOST}:{ports.gateway}"
        self.traces_url = f"http://{_HOST}:{ports.traces}"
        self.otlp = f"http://{_HOST}:{ports.otlp}"
        self.card_network_url = f"http://{_HOST}:{ports.card_network}"
        self._folder = folder
        self._settings = environment or {}
        self._say = say
        self._told: list[Callable[[dict[str, Any]], None]] = []

    async def __aenter__(self) -> "System":
        self.ports.check_free()
        async with AsyncExitStack() as stack:
            folder = self._folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shop-")))
            self._postgres = Postgres(self.ports.postgres)
            stack.callback(self._postgres.remove)
            folder.mkdir(parents=True, exist_ok=True)
            self._postgres.write_passfile(folder / "pgpass")
            self._control = Control(self.broken)
            stack.callback(self._control.remove)
            logs = _emptied(folder / "logs")
            guardian = await Guardian.start(self._postgres.folder, self._control.folder)
            self._supervisor = Supervisor(logs, guardian, say=self._say, changed=self._tell)
            stack.push_async_callback(self._supervisor.stop)
            self._broken = BrokenParts(self._supervisor, self._tell_broker, say=self._say, changed=self._tell)
            await self._start(ledger_path=_emptied(folder / "card-network") / "ledger.jsonl")
            await self._control.serve()
            stack.push_async_callback(self._control.close)
            stack.callback(self._broken.end)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def failed(self) -> str:
        """Waits until the system cannot go on, and says why; then leave the block."""
        return await asyncio.shield(self._supervisor.failure)

    @property
    def kafka(self) -> str:
        """The bootstrap servers of the broker."""
        return self._kafka

    def database_url(self, service: str, role: str | None = None) -> str:
        """As `role`: `<service>` unless told, or with `_owner` or `_reader` behind it."""
        return self._postgres.database_url(service, role)

    def state(self) -> dict[str, Any]:
        """What runs now, for whoever looks from outside; no secrets."""
        running = self._supervisor.parts
        return {
            "gateway_url": self.gateway_url,
            "traces_url": self.traces_url,
            "otlp": self.otlp,
            "card_network_url": self.card_network_url,
            "kafka": self.kafka,
            "postgres": self._postgres.reading(),
            "control": str(self._control.path),
            "settings": waits({each.part.name: each.part.environment for each in running}),
            "parts": [
                {
                    "name": each.part.name,
                    "pid": each.process.pid,
                    "is_ready": each.is_ready.is_set(),
                    "broken": self._broken.state(each.part.name),
                    "address": each.part.address,
                    "grpc": each.part.grpc,
                }
                for each in running
            ],
        }

    @contextmanager
    def told(self, hear: Callable[[dict[str, Any]], None]) -> Generator[None]:
        """Inside the block `hear` is given the state: now, and again whenever it has changed."""
        self._told.append(hear)
        try:
            hear(self.state())
            yield
        finally:
            self._told.remove(hear)

    @contextmanager
    def found_in(self, path: Path) -> Generator[None]:
        """Inside the block `SHOP_FOLDER=path ./shop …` finds this system, wherever its own folder is."""
        folder = RunFolder(path)
        with folder.claimed(), self.told(folder.write_state):
            yield

    def pid(self, name: str) -> int:
        return self._supervisor[name].process.pid

    async def kill(self, name: str) -> None:
        """SIGKILL; returns when the process is dead. It is restarted at once: see `ready`."""
        await self._supervisor.kill(name)

    async def ready(self, name: str) -> None:
        """Returns when the part is ready, again if it died."""
        await self._supervisor.ready(name)

    def broken(self, name: str, how: str) -> AbstractAsyncContextManager[None]:
        """Inside the block the part is broken by `stop`, `freeze` or `down`; after it the part is ready again.

        Raises:
            Impossible: not this part, or not so.
            NotNow: it is broken already, or not ready.
        """
        return self._broken.broken(name, how)

    async def pause(self, name: str) -> None:
        self._supervisor[name].send_signal(signal.SIGSTOP)

    async def resume(self, name: str) -> None:
        self._supervisor[name].send_signal(signal.SIGCONT)

    async def usage(self) -> dict[str, Usage]:
        """What each part uses now; the runner, which is this process too, is left out."""
        return {running.part.name: usage_of(running.process.pid) for running in self._supervisor.parts}

    def search(self, service: str, tags: Mapping[str, str], operation: str = "") -> tuple[str, dict[str, Any]]:
        now = datetime.now(UTC)
        return "/api/v3/traces", {
            "query.service_name": service,
            "query.operation_name": operation,
            "query.start_time_min": (now - timedelta(hours=1)).isoformat(),
            "query.start_time_max": (now + timedelta(minutes=1)).isoformat(),
            "query.num_traces": 20,
            "query.attributes": json.dumps(tags),
        }

    async def broker_down(self) -> None:
        """An outage: every connection is dropped and new ones are refused; what was written stays."""
        await self._tell_broker("down")

    async def broker_up(self) -> None:
        await self._tell_broker("up")

    async def _start(self, *, ledger_path: Path) -> None:
        await together(
            self._start_postgres(),
            self._start_parts(
                parts.broker(self._broker_ready),
                parts.traces(self.ports),
                parts.card_network(self.ports, ledger_path),
            ),
        )
        await self._start_parts(*(parts.service(name, self.ports, self._postgres, self._kafka) for name in SERVICES))
        await self._start_parts(parts.gateway(self.ports))

    async def _start_postgres(self) -> None:
        await self._postgres.initialise()
        await self._start_parts(self._postgres.part())
        await self._postgres.create_databases()

    async def _start_parts(self, *stage: Part) -> None:
        await self._supervisor.start(
            *(replace(part, environment={**part.environment, **self._settings.get(part.name, {})}) for part in stage)
        )

    def _tell(self) -> None:
        for hear in self._told:
            hear(self.state())

    async def _broker_ready(self, process: Process) -> None:
        self._kafka = (await answer_of(process))["bootstrap_servers"]

    async def _tell_broker(self, command: str) -> None:
        await ask(self._supervisor["broker"].process, command)


def _emptied(folder: Path) -> Path:
    """Nothing of an earlier start is of use: the database begins empty too."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
