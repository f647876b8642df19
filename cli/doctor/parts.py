"""Is each part there, is it broken on purpose, and does it answer as its own users would ask it?"""

import asyncio
from http import HTTPStatus
from typing import Any

import aiohttp
import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from catalogue import SERVICE
from cli.doctor.finding import MATTERS, Finding
from cli.rpc import OPTIONS
from cli.systems.running import BROKEN, Part, Replica, Running

# Less than a look may take, so that it can say what was asked.
ANSWER_SECONDS_MAX = 2.5

# What heals a container that nobody's `./shop break` will heal.
_HEALS = {
    "stopped": "docker compose start {part}",
    "frozen": "docker compose unpause {part}",
    "cut": "docker compose up --detach --wait --force-recreate --no-deps {part}",
}


def of_state(system: Running, part: Part) -> Finding | None:
    """What its state alone says about a part; nothing if it seems to run, so that it has to be asked."""
    name, matters = part.name, MATTERS[part.name]
    if part.state in BROKEN:
        end = f"End the `./shop break {name}` that runs, and it is healed."
        if system.kind == "embedded":
            return Finding(name, "wrong", f"is {part.state}", matters, end)
        heals = _HEALS[part.state].format(part=name)
        what = f"is {part.state} ({part.detail})"
        return Finding(name, "wrong", what, matters, f"{end} If none runs:", (heals,))
    if part.state == "missing":
        return Finding(name, "wrong", "has no container", matters, "", ("docker compose up --detach --wait",))
    # Docker takes a container for one that starts until it has looked at it again: seconds after it answers.
    return None


async def gateway(system: Running) -> list[Finding]:
    """It is ready when every service that it needs takes requests."""
    status, said = await _get(f"{system.gateway_url}/readyz")
    if status == HTTPStatus.OK:
        return [Finding("gateway", "well", f"takes requests at {system.gateway_url}")]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        do = "See to the services that it names. One that is back is found again after as long as it was away, at most."
        misses = said.removeprefix("Not ready: ").removesuffix(".")
        return [Finding("gateway", "wrong", f"is not ready: {misses}", MATTERS["gateway"], do)]
    return [_silent(system, "gateway", f"{system.gateway_url} {said}")]


async def card_network(system: Running) -> list[Finding]:
    """The outside party."""
    status, said = await _get(f"{system.card_network_url}/healthz")
    if status == HTTPStatus.OK:
        return [Finding("card-network", "well", f"takes charges at {system.card_network_url}")]
    return [_silent(system, "card-network", f"{system.card_network_url} {said}")]


async def jaeger(system: Running) -> list[Finding]:
    """By the API that answers about traces; embedded, the trace store has the same."""
    status, said = await _get(f"{system.traces_url}/api/v3/services")
    if status == HTTPStatus.OK:
        return [Finding("jaeger", "well", f"answers about traces at {system.traces_url}")]
    return [_silent(system, "jaeger", f"{system.traces_url} {said}")]


async def service(system: Running, name: str) -> list[Finding]:
    """Each replica, by the health protocol of gRPC."""
    replicas = await system.replicas(name)
    if not replicas:
        return [_silent(system, name, "no process of it can be reached from here")]
    said = await asyncio.gather(*(_health(replica) for replica in replicas))
    unwell = [
        f"{replica.name} at {replica.address} {each}" for replica, each in zip(replicas, said, strict=True) if each
    ]
    if unwell:
        return [_silent(system, name, each) for each in unwell]
    where = ", ".join(replica.address for replica in replicas)
    return [Finding(name, "well", f"takes calls of {SERVICE[name].rpc} at {where}")]


async def _health(replica: Replica) -> str:
    """What is wrong with it; empty if nothing is."""
    async with grpc.aio.insecure_channel(replica.address, options=OPTIONS) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_SECONDS_MAX)
        except grpc.aio.AioRpcError as error:
            return f"does not answer ({error.code().name})"
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        return f"takes no calls ({health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)})"
    return ""


async def _get(url: str) -> tuple[int, str]:
    """The status of an answer and what it says; 0 and what went wrong if there is none."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as client, client.get(url) as response:
            # A problem says in words what it is.
            if response.content_type.endswith("problem+json"):
                return response.status, (await response.json(content_type=None))["detail"]
            return response.status, f"answers {response.status}"
    except TimeoutError:
        return 0, f"does not answer within {ANSWER_SECONDS_MAX:g} s"
    except (aiohttp.ClientError, ValueError) as error:
        return 0, f"does not answer: {error}"


def _silent(system: Running, name: str, what: str) -> Finding:
    return Finding(name, "wrong", what, MATTERS[name], "Its log says why.", _log(system, name))


def _log(system: Running, name: str) -> tuple[str, ...]:
    return ("make logs",) if system.kind == "embedded" else (f"docker compose logs --tail 50 {name}",)
