"""The whole service as a process: what `__main__` puts together works together."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from pydantic import SecretStr
from shop.money.v1.money_pb2 import Money
from shop.payment.v1.payment_events_pb2 import PaymentCharged, PaymentRefunded
from shop.payment.v1.payment_service_pb2 import ChargePaymentRequest, GetPaymentRequest, RefundPaymentRequest
from shop.payment.v1.payment_service_pb2_grpc import PaymentServiceStub

from chassis import messages
from chassis.grpc_client import connect
from chassis.testing import eventually
from conftest import Broker, free_port
from infra.local.postgres import Postgres
from services.payment.tests.network import ROOT, Network

METRICS = (
    "shop_payments_open_intents",
    "shop_payments_oldest_open_refund_age_seconds",
    "shop_payments_unclear",
    "shop_card_worker_attempts",
)


class Service:
    """`python -m services.payment` on free ports."""

    def __init__(self, postgres: Postgres, broker: Broker, network: Network) -> None:
        self.grpc_port, self.admin_port = free_port(), free_port()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "protos" / "generated"))),
            "GRPC_PORT": str(self.grpc_port),
            "ADMIN_PORT": str(self.admin_port),
            "DATABASE_URL": postgres.database_url("payment"),
            "DATABASE_OWNER_URL": postgres.database_url("payment", "payment_owner"),
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "KAFKA_FETCH_MAX_WAIT_MS": "50",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "",
            "CARD_NETWORK_URL": network.url,
            "LOG_LEVEL": "WARNING",
        }
        self._process = subprocess.Popen([sys.executable, "-m", "services.payment"], env=environment)

    async def get(self, path: str) -> httpx.Response | None:
        """An answer of the admin port; None as long as there is nobody."""
        assert self._process.poll() is None, "the service ended"
        try:
            async with httpx.AsyncClient() as client:
                return await client.get(f"http://127.0.0.1:{self.admin_port}{path}")
        except httpx.TransportError:
            return None

    async def ready(self) -> bool:
        answer = await self.get("/readyz")
        return answer is not None and answer.is_success

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)


@pytest.fixture
async def service(postgres: Postgres, owner_url: SecretStr, broker: Broker, network: Network) -> AsyncIterator[Service]:
    started = Service(postgres, broker, network)
    await eventually(started.ready, seconds_max=30)
    yield started
    assert started.stop() == 0


async def test_a_command_becomes_a_charge_and_an_event(service: Service, broker: Broker, order_id: str) -> None:
    """gRPC in, the network asked, the outcome on Kafka; then the refund; then an orderly end."""
    heard: list[str] = []
    consumer = AIOKafkaConsumer(
        "payment.events",
        bootstrap_servers=broker.bootstrap_servers,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
        isolation_level="read_committed",
    )
    await consumer.start()

    async def hears(event: str) -> bool:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            envelopes = [messages.parse(record.headers, record.value) for record in records]
            heard.extend(envelope.type for envelope in envelopes if envelope.subject == order_id)
        return event in heard

    amount = Money(amount_minor=990, currency_code="EUR")
    try:
        async with connect(f"127.0.0.1:{service.grpc_port}") as channel:
            stub = PaymentServiceStub(channel)
            await stub.ChargePayment(ChargePaymentRequest(order_id=order_id, amount=amount, card_token="tok_visa"))
            await eventually(lambda: hears(PaymentCharged.DESCRIPTOR.full_name))
            await stub.RefundPayment(RefundPaymentRequest(order_id=order_id))
            await eventually(lambda: hears(PaymentRefunded.DESCRIPTOR.full_name))
            payment = await stub.GetPayment(GetPaymentRequest(order_id=order_id))
            assert payment.amount == amount
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.ChargePayment(ChargePaymentRequest(order_id="no-uuid", amount=amount, card_token="4111"))
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    finally:
        await consumer.stop()
    metrics = await service.get("/metrics")
    assert metrics is not None
    assert [name for name in METRICS if name not in metrics.text] == []
