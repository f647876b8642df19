"""The containers of this checkout's compose project: found, asked and broken by `docker compose`."""

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

from catalogue import DEADLINES, PARTS, SERVICE
from cli.failures import Impossible, NoSystem, Unknown, WrongState
from cli.systems.docker import Command, Docker, HostDocker, docker
from cli.systems.running import BROKEN, How, Part, Program, Replica, State
from infra.local.probes import http_ok

HOST = "127.0.0.1"
PORTS = {"gateway": 8080, "card-network": 8090, "kafka": 9092, "jaeger": 16686}
# The trace store's other port, by which it takes spans.
OTLP, OTLP_PORT = "jaeger, spans", 4317
POLL_SECONDS = 0.1
RECENT_SECONDS = 1.0
# What answers over HTTP as soon as it is there, beside the health checks, which look from inside.
ANSWERS = {"gateway": "/healthz", "jaeger": "/api/v3/services"}

# Of a container's environment the waits alone: it has passwords too. `./shop` grants no other question about it.
SETTINGS = (
    '{{range .Config.Env}}{{if eq (index (split . "=") 0)'
    + "".join(f' "{name}"' for names in DEADLINES.values() for name in names)
    + "}}{{println .}}{{end}}{{end}}"
)

Json = dict[str, Any]


async def find() -> "Containers | None":
    """The project's containers, if its gateway is among them; None too where Docker does not answer."""
    host = HostDocker()
    with suppress(NoSystem):
        rows = await _rows(host)
        gateway = [row for row in rows if row["Service"] == "gateway"]
        if gateway:
            return Containers(host, rows, _published(rows))
    return None


async def inside() -> "Containers":
    """The same from the tools image, which is on the containers' networks and has their names.

    Raises:
        NoSystem: the containers do not run.
    """
    asked = docker()
    rows = await _rows(asked)
    if not any(row["Service"] == "gateway" for row in rows):
        raise NoSystem("Nothing runs here. Start the shop first: docker compose up --detach --wait")
    addresses = {name: f"{name}:{port}" for name, port in PORTS.items()}
    addresses |= {"kafka": "kafka:19092", OTLP: f"jaeger:{OTLP_PORT}"}
    return Containers(asked, rows, addresses, is_inside=True)


async def _rows(asked: Docker) -> list[Json]:
    """A row for each container, of parts that are stopped too; a line each, or one list before compose 2.21."""
    said = (await asked.run("compose", "ps", "--all", "--format", "json")).strip()
    rows = json.loads(said) if said.startswith("[") else [json.loads(line) for line in said.splitlines()]
    return sorted(rows, key=lambda row: row["Name"])


def _published(rows: Sequence[Json]) -> dict[str, str]:
    """Where each part is reached from this machine; what is stopped stays where it usually is."""
    found = {name: f"{HOST}:{os.environ.get(_variable(name), port)}" for name, port in PORTS.items()}
    for row in rows:
        for publisher in row["Publishers"] or ():
            if publisher["PublishedPort"] and publisher["TargetPort"] == PORTS.get(row["Service"]):
                found[row["Service"]] = f"{HOST}:{publisher['PublishedPort']}"
            if publisher["PublishedPort"] and (row["Service"], publisher["TargetPort"]) == ("jaeger", OTLP_PORT):
                found[OTLP] = f"{HOST}:{publisher['PublishedPort']}"
    return found


def _variable(name: str) -> str:
    return f"{name.replace('-', '_').upper()}_PORT"


class Containers:
    """One project. Its parts are asked for anew whenever their state matters."""

    kind: Literal["embedded", "containers"] = "containers"

    def __init__(
        self, asked: Docker, rows: Sequence[Json], addresses: Mapping[str, str], *, is_inside: bool = False
    ) -> None:
        self._docker, self._is_inside = asked, is_inside
        self._asking: asyncio.Task[list[Json]] | None = None
        self._newest, self._asked_at = rows, time.monotonic()
        self.gateway_url = f"http://{addresses['gateway']}"
        self.traces_url = f"http://{addresses['jaeger']}"
        self.otlp = f"http://{addresses[OTLP]}" if OTLP in addresses else ""
        self.card_network_url = f"http://{addresses['card-network']}"
        self.kafka = addresses["kafka"]
        published = _published(rows)
        self._traces_page, self._explorer = f"http://{published['jaeger']}", f"http://{published['gateway']}"

    def page(self, trace_id: str) -> str:
        return f"{self._traces_page}/trace/{trace_id}"

    def order_page(self, order_id: str) -> str:
        return f"{self._explorer}/#/orders/{order_id}"

    async def replicas(self, service: str) -> list[Replica]:
        port = SERVICE[service].grpc_port
        if self._is_inside:
            # The engine's name server knows every container by its name; the service's own name is any of them.
            rows = [row for row in await self._of(service) if _state(row) not in ("stopped", "cut")]
            return [Replica(service, row["Name"], f"{row['Name']}:{port}") for row in rows]
        return [
            Replica(service, row["Name"], f"{HOST}:{publisher['PublishedPort']}")
            for row in await self._recent()
            if row["Service"] == service
            for publisher in row["Publishers"] or ()
            if publisher["TargetPort"] == port and publisher["PublishedPort"]
        ]

    async def settings(self) -> Mapping[str, float]:
        """From the environment that each container was made with."""
        rows = {row["Service"]: row["Name"] for row in await self._recent()}
        said = await self._docker.run(
            "inspect", "--format", SETTINGS, *(rows[name] for name in DEADLINES if name in rows)
        )
        return {name: float(value) for name, _, value in (line.partition("=") for line in said.split())}

    async def parts(self) -> list[Part]:
        rows = await self._rows()
        found = [Part(row["Service"], _state(row), _address(row), row["Name"]) for row in rows]
        there = {part.name for part in found}
        found += [Part(name, "missing") for name in PARTS if name not in there]
        return sorted((part for part in found if part.name in PARTS), key=lambda part: PARTS.index(part.name))

    def psql(self, service: str, *options: str, interactive: bool = False) -> Program:
        terminal = () if interactive else ("-T",)
        where = ("psql", "--no-psqlrc", "--username", f"{service}_reader", "--dbname", service, *options)
        return Program(("docker", "compose", "exec", *terminal, "postgres", *where), {})

    async def run(self, program: Program) -> str:
        return await self._docker.run(*program.arguments[1:])

    @asynccontextmanager
    async def broken(self, part: str, how: How) -> AsyncGenerator[None]:
        breaking, healing = await self._commands(part, how)
        async with self._docker.between(breaking, healing):
            yield

    async def _commands(self, part: str, how: How) -> tuple[list[Command], list[Command]]:
        """What breaks a part, and what heals it; by the containers' names, for compose looks at their needs first."""
        if part not in PARTS:
            raise Unknown(f"There is no part {part}; there are {', '.join(PARTS)}.")
        rows = await self._of(part)
        if not rows:
            raise NoSystem(f"There is no container of {part}: docker compose up --detach --wait")
        for row in rows:
            if (state := _state(row)) in BROKEN:
                raise WrongState(f"It is broken already: {part} is {state}; `./shop doctor` says what to do about it.")
        names = [row["Name"] for row in rows]
        match how:
            case "stop":
                return [("stop", *names)], [("start", *names)]
            case "freeze":
                return [("pause", *names)], [("unpause", *names)]
            case "cut":
                wires = [(network, row["Name"]) for row in rows for network in row["Networks"].split(",")]
                # With the alias that compose gave it: other containers know the part by no other name.
                return (
                    [("network", "disconnect", *wire) for wire in wires],
                    [("network", "connect", "--alias", part, *wire) for wire in wires],
                )
            case _:
                raise Impossible(f"In containers a part is stopped, frozen or cut; {how} is for the embedded Kafka.")

    async def ready(self, part: str) -> None:
        # Docker looks at a container's health in rounds; asked directly it is known at once.
        for name, check in await self._checks(part):
            while not await self._succeeds("exec", name, *check):  # noqa: ASYNC110 - no event
                await asyncio.sleep(POLL_SECONDS)
        if path := ANSWERS.get(part):
            await http_ok({"gateway": self.gateway_url, "jaeger": self.traces_url}[part] + path)()

    async def _checks(self, part: str) -> list[tuple[str, list[str]]]:
        """The health check of each container of a part that has one."""
        names = [row["Name"] for row in await self._of(part)]
        said = await self._docker.run("inspect", "--format", "{{json .Config.Healthcheck}}", *names) if names else ""
        checks = [(name, json.loads(line)) for name, line in zip(names, said.splitlines(), strict=True)]
        return [(name, check["Test"][1:]) for name, check in checks if check]

    async def _succeeds(self, *arguments: str) -> bool:
        try:
            await self._docker.run(*arguments)
        except NoSystem:
            return False
        return True

    async def scale(self, counts: Mapping[str, int]) -> None:
        wanted = [f"--scale={name}={count}" for name, count in counts.items()]
        await self._docker.run("compose", "up", "--detach", "--no-recreate", "--no-deps", *wanted, *counts)
        # Not by `--wait`: Docker looks at a container's health in rounds of seconds.
        for name in counts:
            await self.ready(name)
        self._asked_at = -RECENT_SECONDS

    async def _recent(self) -> Sequence[Json]:
        """A row for each container, as of a moment ago: asking takes longer than most of what is asked for."""
        if time.monotonic() - self._asked_at > RECENT_SECONDS:
            self._newest, self._asked_at = await self._rows(), time.monotonic()
        return self._newest

    async def _of(self, part: str) -> list[Json]:
        return [row for row in await self._rows() if row["Service"] == part]

    async def _rows(self) -> list[Json]:
        """Who asks while somebody else does gets the same answer: each costs a process, and `doctor` asks often."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(_rows(self._docker))
        # Who stops waiting does not stop it for the others.
        return await asyncio.shield(self._asking)


def _state(row: Json) -> State:
    match row["State"], row["Health"]:
        case "paused", _:
            return "frozen"
        case "running", _ if not row["Networks"]:
            return "cut"
        case "running", "unhealthy":
            return "unhealthy"
        case ("running", "starting") | ("restarting", _):
            return "starting"
        case "running", _:
            return "running"
        case _:
            return "stopped"


def _address(row: Json) -> str:
    return " ".join(f"{HOST}:{each['PublishedPort']}" for each in row["Publishers"] or () if each["PublishedPort"])
