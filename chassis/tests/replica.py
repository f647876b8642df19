"""One replica of a small service in a process of its own, that a test can freeze: `python -m chassis.tests.replica`.

It prints its port, and ends with its input.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from shop.inventory.v1 import inventory_service_pb2 as rpc
from shop.inventory.v1.inventory_pb2 import Reservation
from shop.inventory.v1.inventory_service_pb2_grpc import (
    InventoryServiceServicer,
    add_InventoryServiceServicer_to_server,
)
from shop.order.v1.order_pb2 import TimelineEntry
from shop.order.v1.order_service_pb2 import WatchOrderRequest
from shop.order.v1.order_service_pb2_grpc import OrderServiceServicer, add_OrderServiceServicer_to_server


class Inventory(InventoryServiceServicer):
    """Accepts; who it is stands in the trailing metadata."""

    async def ReleaseStock(self, request: rpc.ReleaseStockRequest, context: Any) -> Reservation:
        context.set_trailing_metadata((("replica", str(os.getpid())),))
        return Reservation(order_id=request.order_id)


class Orders(OrderServiceServicer):
    """Says one thing, and then nothing more."""

    async def WatchOrder(self, request: WatchOrderRequest, context: Any) -> AsyncIterator[TimelineEntry]:
        yield TimelineEntry(position=os.getpid())
        await asyncio.Event().wait()


class Replica:
    """One that runs, as its test sees it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.pid, self.address = process.pid, f"127.0.0.1:{port}"

    def freeze(self) -> None:
        """Stand still, connections open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on, as if nothing had been."""
        os.kill(self.pid, signal.SIGCONT)


@asynccontextmanager
async def replica(ping_interval_ms: int, age_ms: int) -> AsyncGenerator[Replica]:
    """Run one with the server's settings of this version, or of an earlier one, until the block ends.

    Args:
        ping_interval_ms: what comes sooner than so much after another ping is abuse.
        age_ms: when clients are told to connect anew.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chassis.tests.replica",
        str(ping_interval_ms),
        str(age_ms),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": ".:protos/generated"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            port = int(await process.stdout.readline())
        yield Replica(process, port)
    finally:
        process.kill()
        await process.communicate()


async def main(ping_interval_ms: int, age_ms: int) -> None:
    """Serve until the input ends."""
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_connection_age_ms", age_ms),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", ping_interval_ms),
        ]
    )
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    add_InventoryServiceServicer_to_server(Inventory(), server)
    add_OrderServiceServicer_to_server(Orders(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    await server.start()
    print(port, flush=True)  # noqa: T201 - for who started it
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
