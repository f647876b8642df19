"""The gateway as an ASGI application: routes of the annotated RPCs, probes, pages, and problems for everything else.

client ─▶ TrustBoundary ─▶ FastAPI (telemetry, errors) ─▶ Resource ─▶ UnaryEndpoint | StreamEndpoint ─▶ gRPC
                                                      └─▶ explorer, whose reading of the API goes by the same Resources
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final, cast

import grpc.aio
from fastapi import FastAPI
from google.protobuf.descriptor import ServiceDescriptor
from shop.order.v1 import order_service_pb2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from explorer.absences import Absences
from explorer.client import Client
from explorer.mount import explorer
from explorer.refusals import Refused
from gateway import openapi, problems
from gateway.boundary import CallerLink, TrustBoundary
from gateway.comments import comments
from gateway.docs import add_docs
from gateway.examples import examples
from gateway.exchange import Gate
from gateway.probes import add_probes
from gateway.routes import UnaryEndpoint, method_not_allowed, resources
from gateway.rules import Rule, rules
from gateway.settings import GatewaySettings
from gateway.streams import StreamEndpoint

# Compiled beside the stubs, from the same protos.
PROTO_IMAGE: Final = Path(order_service_pb2.__file__).parents[3] / "descriptors.binpb"
_UNTRACED: Final = ("/healthz", "/readyz", "/openapi.json", "/docs", "/explorer/")
_WHERE_TO_LOOK: Final = "See / for what there is, and /docs for how to use it."


def create_app(
    settings: GatewaySettings,
    services: Mapping[str, tuple[ServiceDescriptor, grpc.aio.Channel]],
    stopping: asyncio.Event,
    client: Client,
) -> ASGIApp:
    """Build the application.

    Args:
        settings: bounds and deadlines.
        services: each service's descriptor and the channel to it, by a name that probes can show.
        stopping: set when the process is to stop; open streams then end.
        client: by which the explorer asks the trace store and the replicas.

    Raises:
        AnnotationError: an RPC's annotation cannot be served.
    """
    app = _framework()
    found = rules(service for service, _ in services.values())
    channels = {service.full_name: channel for service, channel in services.values()}
    calls, streams = Gate(settings.calls_max), Gate(settings.streams_max)

    def endpoint(rule: Rule) -> ASGIApp:
        channel = channels[rule.rpc.containing_service.full_name]
        if rule.rpc.server_streaming:
            return StreamEndpoint(rule, channel, settings, streams, stopping)
        return UnaryEndpoint(rule, channel, settings, calls)

    api = resources(found, endpoint)
    app.router.routes.extend([*api, *explorer(settings, api, client)])
    add_probes(app, {name: channel for name, (_, channel) in services.items()}, stopping)
    add_docs(app, lambda: openapi.document(found, comments(PROTO_IMAGE), examples(PROTO_IMAGE)))
    return TrustBoundary(app, settings.header_bytes_max)


def _framework() -> FastAPI:
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: _on_http_exception, Exception: _on_fault},
        # FastAPI's own telemetry: the server span and the duration of each request.
        telemetry={"logs": False, "operation_spans": False, "auto_configure": False, "exclude": _is_untraced},
    )
    app.add_middleware(CallerLink)
    app.add_middleware(Absences)
    return app


def _is_untraced(scope: Scope) -> bool:
    return scope["path"] == "/" or scope["path"].startswith(_UNTRACED)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """What the router, the static files and the explorer refuse."""
    refused = cast(HTTPException, error)
    path = request.scope["path"]
    if isinstance(refused, Refused):
        problem = problems.refusal(HTTPStatus(refused.status_code), refused.reason, refused.detail, code=refused.code)
    elif refused.status_code == HTTPStatus.NOT_FOUND:
        detail = f"There is no {path}. {_WHERE_TO_LOOK}"
        problem = problems.refusal(HTTPStatus.NOT_FOUND, "NO_SUCH_PATH", detail, code="NOT_FOUND")
    elif refused.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        problem = method_not_allowed(request.method, path, (refused.headers or {}).get("Allow", "GET, HEAD"))
    else:
        status = HTTPStatus(refused.status_code)
        problem = problems.refusal(status, status.name, status.phrase)
    return _answer(problem)


async def _on_fault(_request: Request, _error: Exception) -> Response:
    # FastAPI raises the error again behind the answer, so that it is logged, once.
    return _answer(problems.internal())


def _answer(problem: problems.Problem) -> Response:
    headers = {"cache-control": "no-store"}
    response = Response(problem.body(), problem.status, headers, problems.MEDIA_TYPE)
    response.raw_headers.extend(problem.headers)
    return response
