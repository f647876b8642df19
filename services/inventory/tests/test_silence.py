"""The service as a process whose database falls silent: it says so in time, and works again in time."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc.aio
import httpx
from shop.inventory.v1 import inventory_service_pb2 as rpc
from shop.inventory.v1.inventory_pb2 import ReservationLine
from shop.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from uuid_utils.compat import uuid7

from chassis import grpc_client
from chassis.testing import eventually
from chassis.tests.network import network
from conftest import Broker, free_port
from infra.local.postgres import Postgres
from services.inventory.tests.driver import Driver
from services.inventory.tests.test_process import program, reserved

READY_SECONDS_MAX, RECOVERY_SECONDS_MAX = 2.0, 15.0


async def test_a_database_that_falls_silent_holds_up_no_answer_and_nothing_for_ever(
    postgres: Postgres, broker: Broker, driver: Driver, tmp_path: Path
) -> None:
    """All connections are swallowed, new ones too: `/readyz` says no within two seconds; later all goes on."""
    sku, grpc_port, admin_port = await driver.article(50), free_port(), free_port()
    async with network(postgres.port) as between, httpx.AsyncClient(timeout=10) as http:

        def through(url: str) -> str:
            return url.replace(f":{postgres.port}/", f":{between.port}/")

        async def probe() -> bool:
            began = time.monotonic()
            answer = await http.get(f"http://127.0.0.1:{admin_port}/readyz")
            assert time.monotonic() - began < READY_SECONDS_MAX
            return answer.is_success

        async def is_up() -> bool:
            try:
                return await probe()
            except httpx.TransportError:
                return False

        environment = {
            "DATABASE_URL": through(postgres.database_url("inventory")),
            "DATABASE_OWNER_URL": through(postgres.database_url("inventory", "inventory_owner")),
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        }
        async with (
            program(tmp_path / "inventory.log", grpc_port, admin_port, **environment),
            grpc_client.connect(f"127.0.0.1:{grpc_port}") as channel,
        ):
            await eventually(is_up, seconds_max=20)
            reserve = holding(InventoryServiceStub(channel), sku)
            assert await reserved(broker, str(await reserve())) == [1]
            between.swallow(new=True)
            assert [await probe() for _ in range(3)] == [False, False, False]
            between.carry()
            began = time.monotonic()
            order_id = await eventually(reserve, seconds_max=RECOVERY_SECONDS_MAX)
            assert await reserved(broker, str(order_id)) == [1]
            assert time.monotonic() - began < RECOVERY_SECONDS_MAX
            assert await probe()


def holding(stub: InventoryServiceStub, sku: str) -> Callable[[], Awaitable[str | None]]:
    """Reserves one of the article for a new order; its id, or nothing where the service does not answer."""

    async def reserve() -> str | None:
        order_id = str(uuid7())
        line = ReservationLine(sku=sku, quantity=1)
        try:
            await stub.ReserveStock(rpc.ReserveStockRequest(order_id=order_id, lines=[line]), timeout=2)
        except grpc.aio.AioRpcError:
            return None
        return order_id

    return reserve
