"""The service as a process of its own, between a real PostgreSQL and a real Kafka protocol: all its parts together."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from shop.inventory.v1 import inventory_service_pb2 as rpc
from shop.inventory.v1.inventory_events_pb2 import StockReserved
from shop.inventory.v1.inventory_pb2 import ReservationLine
from shop.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from shop.order.v1.order_events_pb2 import OrderConfirmed

from chassis import grpc_client, messages
from chassis.testing import eventually
from conftest import Broker, free_port
from infra.local.postgres import Postgres
from services.inventory.tests.driver import Driver, Shelf, as_sent


@asynccontextmanager
async def program(
    log: Path, grpc_port: int, admin_port: int, **environment: str
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """`python -m services.inventory`, which logs into a file; a failed test shows it."""
    with log.open("wb") as stderr:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.inventory",
            stderr=stderr,
            env={
                "PYTHONPATH": ".:protos/generated",
                "GRPC_PORT": str(grpc_port),
                "ADMIN_PORT": str(admin_port),
                "OTEL_EXPORTER_OTLP_ENDPOINT": "",
                "KAFKA_FETCH_MAX_WAIT_MS": "20",
                **environment,
            },
        )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        print(await asyncio.to_thread(log.read_text))  # noqa: T201 - pytest shows it with a failure


async def test_an_order_goes_through_the_running_service(
    postgres: Postgres, broker: Broker, driver: Driver, order_id: str, tmp_path: Path
) -> None:
    """Reserved by command, told on Kafka, shipped on the order's confirmation, counted; then an end in good order."""
    sku, grpc_port, admin_port = await driver.article(5), free_port(), free_port()
    log = tmp_path / "inventory.log"
    admin = f"http://127.0.0.1:{admin_port}"
    environment = {
        "DATABASE_URL": postgres.database_url("inventory"),
        "DATABASE_OWNER_URL": postgres.database_url("inventory", "inventory_owner"),
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
    }
    async with program(log, grpc_port, admin_port, **environment) as child, httpx.AsyncClient() as http:

        async def ready() -> bool:
            try:
                return (await http.get(f"{admin}/readyz")).is_success
            except httpx.TransportError:
                return False

        await eventually(ready, seconds_max=20)
        async with grpc_client.connect(f"127.0.0.1:{grpc_port}") as channel:
            await InventoryServiceStub(channel).ReserveStock(
                rpc.ReserveStockRequest(order_id=order_id, lines=[ReservationLine(sku=sku, quantity=2)])
            )
        assert await reserved(broker, order_id) == [2]
        await confirm(broker, order_id)

        async def shipped() -> bool:
            return await driver.shelf(sku) == Shelf(3, 0)

        await eventually(shipped, seconds_max=20)
        metrics = (await http.get(f"{admin}/metrics")).text
        assert 'shop_reservations_total{otel_scope_name="shop",' in metrics
        assert 'outcome="HELD"' in metrics
        assert 'outcome="SHIPPED"' in metrics
        assert "shop_stock_held{" in metrics

        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await child.wait() == 0
    assert '"error"' not in log.read_text()


async def reserved(broker: Broker, order_id: str) -> list[int]:
    """The quantities of the order's StockReserved, once Kafka has it."""
    consumer = AIOKafkaConsumer(
        "inventory.events",
        bootstrap_servers=broker.bootstrap_servers,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=20,
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            async for record in consumer:
                event = messages.parse(record.headers, record.value)
                if event.subject == order_id:
                    assert (event.type, event.source, event.sequence, record.key) == (
                        "shop.inventory.v1.StockReserved",
                        "inventory",
                        1,
                        order_id.encode(),
                    )
                    return [line.quantity for line in StockReserved.FromString(event.payload).lines]
        raise AssertionError("the consumer ended")
    finally:
        await consumer.stop()


async def confirm(broker: Broker, order_id: str) -> None:
    """The order service publishes OrderConfirmed."""
    told = as_sent(OrderConfirmed(order_id=order_id))
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers)
    await producer.start()
    await producer.send_and_wait("order.events", told.payload, key=told.key, headers=messages.headers(told))
    await producer.stop()


@pytest.mark.parametrize("setting", ["DATABASE_URL", "DATABASE_OWNER_URL"])
async def test_a_url_that_lets_nobody_in_ends_the_process_with_one_line(
    postgres: Postgres, broker: Broker, tmp_path: Path, setting: str
) -> None:
    """Waiting would not help: the line names the setting, and the exit code is that of a wrong setting."""
    log = tmp_path / "inventory.log"
    environment = {
        "DATABASE_URL": postgres.database_url("inventory"),
        "DATABASE_OWNER_URL": postgres.database_url("inventory", "inventory_owner"),
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
    }
    environment[setting] = environment[setting].replace("@", "-mistyped@")
    async with program(log, free_port(), free_port(), **environment) as child:
        assert await asyncio.wait_for(child.wait(), 20) == 2
    [said] = log.read_text().splitlines()
    assert said.startswith(f"inventory: setting {setting}: password authentication failed for user")


async def test_a_database_that_does_not_answer_is_waited_for(broker: Broker, tmp_path: Path) -> None:
    """It may come yet: the process says what it waits for, and ends in good order when it is asked to."""
    log, nobody = tmp_path / "inventory.log", f"postgresql+asyncpg://inventory:x@127.0.0.1:{free_port()}/inventory"
    environment = {
        "DATABASE_URL": nobody,
        "DATABASE_OWNER_URL": nobody,
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
    }
    async with program(log, free_port(), free_port(), **environment) as child:
        await eventually(lambda: "the migration waits: the database does not answer" in log.read_text(), seconds_max=20)
        child.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(child.wait(), 20) == 0
