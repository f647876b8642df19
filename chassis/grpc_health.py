"""Health of a gRPC server: whether it serves, who it is, and to everybody who watches, the moment it changes.

Source: `grpc/health/v1/health.proto`.
"""

import asyncio
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

from chassis import telemetry
from chassis.version import VERSION

# Trailing metadata.
SHOP_VERSION, SHOP_INSTANCE = "shop-version", "shop-instance"

Status = health_pb2.HealthCheckResponse
# The package's types know no `List` yet.
_messages: Any = health_pb2


class Health(HealthServicer):
    """The library's, which answers no `List`, and forgets those who watch a service as soon as one of them leaves."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Condition()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:
        """Says too who answers: the version, and the id by which the spans of this process name it."""
        context.set_trailing_metadata(((SHOP_VERSION, VERSION), (SHOP_INSTANCE, telemetry.instance_id())))
        return await super().Check(request, context)

    async def List(self, request: Any, context: Any) -> Any:
        return _messages.HealthListResponse(
            statuses={name: Status(status=status) for name, status in self._server_status.items()}
        )

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:
        told: Any = None

        def is_news() -> bool:
            return self._status(request.service) != told

        while True:
            async with self._changed:
                await self._changed.wait_for(is_news)
                told = self._status(request.service)
            await context.write(Status(status=told))

    def _status(self, service: str) -> Any:
        return self._server_status.get(service, Status.SERVICE_UNKNOWN)

    async def _set(self, service: str, status: Any) -> None:
        async with self._changed:
            self._server_status[service] = status
            self._changed.notify_all()
