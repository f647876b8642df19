"""What a proxy, or a replica of another version, says to a saga's commands is no answer of a participant."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import grpc
import grpc.aio
import pytest

from chassis import grpc_client
from chassis.database import Database, Sql
from chassis.dispatcher import Dispatcher
from chassis.testing import eventually
from services.order import handlers, saga
from services.order.deadlines import Deadlines
from services.order.settings import OrderSettings
from services.order.tests.test_handlers import Shop

RESERVE_SECONDS, PARK_SECONDS = 0.8, 1.0
SERVICES = ("shop.inventory.v1.InventoryService", "shop.payment.v1.PaymentService")


class Proxy(grpc.GenericRpcHandler):
    """Knows no method, as a server in mid-deploy that is not there yet: gRPC itself then answers UNIMPLEMENTED."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        self.asked.append(handler_call_details.method.rsplit("/", 1)[1])


@pytest.fixture
async def proxy() -> AsyncIterator[tuple[Proxy, str]]:
    handler, server = Proxy(), grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield handler, f"127.0.0.1:{port}"
    await server.stop(0)


async def test_a_forward_command_meets_its_deadline_and_a_compensation_is_parked(
    database: Database, settings: OrderSettings, proxy: tuple[Proxy, str]
) -> None:
    """Nobody of ours has refused, so both are tried again; what ends them is the saga's own patience."""
    handler, address = proxy
    settings = settings.model_copy(
        update={
            "reserve_deadline_seconds": RESERVE_SECONDS,
            "compensation_retry_seconds": 0.3,
            "park_after_seconds": PARK_SECONDS,
            "deadline_poll_seconds": 0.05,
        }
    )
    shop, stopping = Shop(database, settings), asyncio.Event()
    async with database.single() as once:
        await once.run(Sql("DELETE command_outbox", "DELETE FROM command_outbox"))
        await once.run(Sql("UPDATE sagas", "UPDATE sagas SET deadline_at = NULL"))

    async def step(order_id: str) -> str:
        row = (await shop.rows("sagas", order_id))[0]
        return "parked" if row.parked_at else row.step

    async with grpc_client.connect(address, retries=False, traced=False) as channel:
        dispatcher = Dispatcher(
            database,
            dict.fromkeys(SERVICES, channel),
            partial(handlers.command_refused, settings=settings),
            decided_by=saga.react,
            stopping=stopping,
        )
        loops = [asyncio.create_task(loop()) for loop in (dispatcher.run, Deadlines(database, settings, stopping).run)]
        order_id = (await shop.place()).order_id
        await eventually(lambda: handler.asked.count("ReserveStock") >= 2)
        assert await step(order_id) == "RESERVING_STOCK"
        await eventually(lambda: handler.asked.count("ReleaseStock") >= 2)

        async def is_parked() -> bool:
            return await step(order_id) == "parked"

        await eventually(is_parked)
        stopping.set()
        await asyncio.gather(*loops)
    (row,) = await shop.rows("sagas", order_id)
    assert (row.step, row.reason) == ("RELEASING_STOCK", "RESERVATION_TIMED_OUT")
    # The forward command was withdrawn; the compensation waits for an operator, or for a participant.
    assert await shop.sent(order_id) == {"ReleaseStock"}
