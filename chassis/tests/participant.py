"""A service that commands are sent to: a real gRPC server whose answers a test decides."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from shop.inventory.v1 import inventory_service_pb2 as rpc
from shop.inventory.v1.inventory_pb2 import Reservation, StockItem
from shop.inventory.v1.inventory_service_pb2_grpc import (
    InventoryServiceServicer,
    add_InventoryServiceServicer_to_server,
)

from chassis.errors import Refusal
from chassis.grpc_client import deadline
from chassis.grpc_server import Server
from conftest import free_port

NAME = "shop.inventory.v1.InventoryService"
SAID = "as the test wants it"


@dataclass(frozen=True)
class Foreign:
    """An answer as others may give it: a code, and whatever bytes where the rich status should be, or none."""

    code: grpc.StatusCode
    details: bytes | None = None


def rich(code: grpc.StatusCode, domain: str, type_url: str = "type.googleapis.com/google.rpc.ErrorInfo") -> bytes:
    """The bytes of a rich status with one ErrorInfo."""
    info = error_details_pb2.ErrorInfo(reason="NOT_HERE", domain=domain)
    packed = AnyMessage(type_url=type_url, value=info.SerializeToString())
    return status_pb2.Status(code=code.value[0], message=SAID, details=[packed]).SerializeToString()


class Participant(InventoryServiceServicer):
    """Answers with the statuses it is given, one a call, then with OK; notes what it was asked."""

    def __init__(self, *statuses: grpc.StatusCode | Refusal | Exception | Foreign) -> None:
        self._statuses = list(statuses)
        self.asked: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.deadlines: list[float | None] = []
        self.at_work = 0
        self.at_work_max = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.on_call: Callable[[], Any] | None = None

    def answer_with(self, status: Foreign) -> None:
        """Answer the call that is made now with this status."""
        self._statuses.append(status)

    async def ReleaseStock(self, request: rpc.ReleaseStockRequest, context: Any) -> Reservation:
        self.asked.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.deadlines.append(deadline.get())
        self.at_work += 1
        self.at_work_max = max(self.at_work, self.at_work_max)
        try:
            if self.on_call is not None:
                await self.on_call()
            await self.answers.wait()
        finally:
            self.at_work -= 1
        if self._statuses:
            status = self._statuses.pop(0)
            if isinstance(status, Exception):
                raise status
            if isinstance(status, Foreign):
                details = () if status.details is None else (("grpc-status-details-bin", status.details),)
                await context.abort(status.code, SAID, details)
            await context.abort(status, SAID)
        return Reservation(order_id=request.order_id)

    async def GetStock(self, request: rpc.GetStockRequest, context: Any) -> StockItem:
        return StockItem(sku=request.sku)


@asynccontextmanager
async def serving(participant: Participant, port: int = 0, **limits: Any) -> AsyncGenerator[str]:
    """Serve until the block ends, with the limits that `Server` takes; gives the address."""
    port, stopping = port or free_port(), asyncio.Event()
    server = Server("127.0.0.1", port, grace_seconds=2, **limits)
    add_InventoryServiceServicer_to_server(participant, server.grpc)
    task = asyncio.create_task(server.run(stopping, NAME))
    try:
        while not task.done():
            try:
                await server.serving()
                break
            except ConnectionError:
                await asyncio.sleep(0.01)
        yield f"127.0.0.1:{port}"
    finally:
        stopping.set()
        await task
