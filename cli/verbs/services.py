"""`shop services`: what runs where, in which version, and what it offers; asked of each process itself."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from catalogue import SERVICES
from cli.session import Session, runs

if TYPE_CHECKING:
    import aiohttp

    from cli.systems.running import Part, Replica, Running

SECONDS_MAX = 2.0
# What is in such a state need not be asked.
GONE = ("stopped", "frozen", "cut", "missing")
DOWN = "does not answer"

Json = dict[str, Any]


@click.command(short_help="What runs where, in which version, and whether it is healthy.")
@runs
async def command(session: Session) -> None:
    """Each process of the services, of the gateway and of the card network: where it is, its health and its version.

    Asked by gRPC health and reflection. The instance is what the spans of that process call it.
    """
    system = await session.system()
    rows = await processes(system)
    session.out.show(rows, lambda console: _show(console, rows))


async def processes(system: "Running") -> list[Json]:
    """A row for each process, of those that are down too, in the order of an order's way."""
    import aiohttp

    parts = await system.parts()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(SECONDS_MAX)) as client:
        found = await asyncio.gather(
            _outside(parts, "gateway", system.gateway_url, _gateway(client, system.gateway_url)),
            *(_service(system, parts, service.name) for service in SERVICES),
            _outside(parts, "card-network", system.card_network_url, _card_network(client, system.card_network_url)),
        )
    return [row for rows in found for row in rows]


async def _service(system: "Running", parts: "list[Part]", name: str) -> list[Json]:
    """Each replica as it answers; a part that is broken or missing is not asked."""
    own = [part for part in parts if part.name == name]
    gone = [_row(part) for part in own if part.state in GONE]
    replicas = await system.replicas(name) if len(gone) < len(own) else []
    names = {row["name"] for row in gone}
    asked = await asyncio.gather(*(_asked(each) for each in replicas if each.name not in names))
    return [*asked, *gone] or [_row(part) for part in own]


async def _outside(parts: "list[Part]", name: str, url: str, question: Coroutine[Any, Any, Json]) -> list[Json]:
    """One that is reached by HTTP."""
    [part] = [part for part in parts if part.name == name]
    answer = await question
    return [_row(part) if part.state in GONE else {**_row(part), "address": url, **answer}]


def _row(part: "Part") -> Json:
    row: Json = {"service": part.name, "name": part.detail, "address": part.address.partition(" ")[0]}
    return {**row, "health": part.state, "version": "", "instance": "", "methods": {}}


async def _asked(replica: "Replica") -> Json:
    """A service's own answers: its health, who it is, and what it offers."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from cli.reflection import Reflection
    from cli.rpc import OPTIONS

    row: Json = {"service": replica.service, "name": replica.name, "address": replica.address}
    async with grpc.aio.insecure_channel(replica.address, options=OPTIONS) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            call = stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS_MAX)
            answer = await call
            told = await call.trailing_metadata()
            reflection = Reflection(channel, SECONDS_MAX)
            offered = [await reflection.service(name) for name in await reflection.services()]
        except grpc.aio.AioRpcError as error:
            return {**row, "health": f"{DOWN} ({error.code().name})", "version": "", "instance": "", "methods": {}}
    methods = {
        service.full_name: [
            {"name": method.name, "stream": method.server_streaming or method.client_streaming}
            for method in service.methods
        ]
        for service in offered
    }
    return {
        **row,
        "health": health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status),
        "version": told.get("shop-version", ""),
        "instance": told.get("shop-instance", ""),
        "methods": methods,
    }


async def _gateway(client: "aiohttp.ClientSession", url: str) -> Json:
    """Neither path is traced."""
    import aiohttp

    try:
        async with client.get(f"{url}/readyz") as ready, client.get(f"{url}/openapi.json") as described:
            said, document = await ready.json(content_type=None), await described.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError):
        return {"health": DOWN}
    return {
        "health": "SERVING" if ready.status == 200 else said["detail"],
        "version": document["info"]["version"],
    }


async def _card_network(client: "aiohttp.ClientSession", url: str) -> Json:
    import aiohttp

    try:
        async with client.get(f"{url}/healthz") as answer:
            return {"health": "SERVING" if answer.status == 200 else DOWN}
    except (aiohttp.ClientError, TimeoutError):
        return {"health": DOWN}


def _show(console: Console, rows: list[Json]) -> None:
    from cli.listing import listing

    headers = ("service", "name", "address", "health", "version", "instance")
    listing(
        console,
        headers,
        [(row["service"], row["name"], row["address"], _health(row), row["version"], row["instance"]) for row in rows],
    )
    offered = {row["service"]: row["methods"] for row in rows if row["methods"]}
    for methods in offered.values():
        for service, found in methods.items():
            if service.startswith("grpc."):
                continue
            console.print()
            console.print(service, style="bold", highlight=False, soft_wrap=True)
            names = ", ".join(f"{method['name']}{' (stream)' if method['stream'] else ''}" for method in found)
            console.print(f"  {names}", highlight=False)
    if offered:
        console.print(
            "\nEach of them also offers gRPC health and reflection; ./shop call SERVICE/METHOD --describe says more.",
            highlight=False,
            soft_wrap=True,
        )


def _health(row: Json) -> Text:
    return Text(row["health"], "green" if row["health"] == "SERVING" else "bold red")
