"""/healthz: the gateway runs. /readyz: every service it needs takes requests."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import grpc.aio
from fastapi import FastAPI
from grpc_health.v1 import health_pb2, health_pb2_grpc
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway import problems

_DEADLINE_SECONDS: Final = 1.0
# The deadline is gRPC's to keep; whoever asks for readiness is answered within two seconds even if it is not kept.
_ANSWER_SECONDS_MAX: Final = 1.5


class NotServing(Exception):
    """A service answers, but takes no requests."""


async def check(channel: grpc.aio.Channel) -> None:
    """Ask a service for its health.

    Raises:
        NotServing: it takes no requests.
        grpc.aio.AioRpcError: it does not answer.
    """
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_DEADLINE_SECONDS)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise NotServing(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def _failing(name: str, channel: grpc.aio.Channel) -> str:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            await check(channel)
    except NotServing as not_serving:
        return f"{name} is {not_serving}"
    except grpc.aio.AioRpcError as error:
        return f"{name} does not answer ({error.code().name})"
    except TimeoutError:
        return f"{name} does not answer"
    return ""


def add_probes(app: FastAPI, channels: Mapping[str, grpc.aio.Channel], stopping: asyncio.Event) -> None:
    """Serve the probes."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        failing = await asyncio.gather(*(_failing(name, channel) for name, channel in channels.items()))
        detail = "; ".join(["the gateway is stopping"] if stopping.is_set() else filter(None, failing))
        if not detail:
            return JSONResponse({"status": "ok"})
        problem = problems.unavailable(f"Not ready: {detail}.")
        return Response(problem.body(), HTTPStatus.SERVICE_UNAVAILABLE, media_type=problems.MEDIA_TYPE)

    app.add_route("/healthz", healthz)
    app.add_route("/readyz", readyz)
