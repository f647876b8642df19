"""The order service over a real gRPC connection: answers, refusals with their field, resumable streams."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from shop.order.v1 import order_service_pb2 as rpc
from shop.order.v1.order_pb2 import Order, OrderLine, Saga
from shop.order.v1.order_service_pb2_grpc import OrderServiceStub, add_OrderServiceServicer_to_server
from uuid_utils.compat import uuid7

from chassis import grpc_client
from chassis.database import Database
from chassis.grpc_server import Server
from conftest import free_port
from services.order import saga_table
from services.order.servicer import OrderServicer
from services.order.settings import OrderSettings
from services.order.timeline import Watchers


@pytest.fixture
async def orders(database: Database, settings: OrderSettings) -> AsyncIterator[OrderServiceStub]:
    stopping, port = asyncio.Event(), free_port()
    server = Server("127.0.0.1", port)
    watchers = Watchers(database, stopping, 10)
    add_OrderServiceServicer_to_server(OrderServicer(database, watchers, settings), server.grpc)
    serving = asyncio.create_task(server.run(stopping, "shop.order.v1.OrderService"))
    async with grpc_client.connect(f"127.0.0.1:{port}") as channel:
        yield OrderServiceStub(channel)
    stopping.set()
    await serving


def request(**changes: object) -> rpc.PlaceOrderRequest:
    fields: dict[str, object] = {
        "customer_id": "ada",
        "card_token": "tok_visa",
        "request_id": str(uuid7()),
        "lines": [OrderLine(sku="espresso-beans", quantity=1)],
    }
    return rpc.PlaceOrderRequest(**{**fields, **changes})  # pyright: ignore[reportArgumentType] - any field may change


BAD = {
    "customer_id": [{"customer_id": ""}, {"customer_id": "a" * 300}],
    "card_token": [{"card_token": "4111111111111111"}],
    "request_id": [{"request_id": "k" * 300}, {"request_id": ""}],
    "lines": [
        {"lines": []},
        {"lines": [OrderLine(sku=f"s{n}", quantity=1) for n in range(101)]},
        {"lines": [OrderLine(sku="a", quantity=1), OrderLine(sku="a", quantity=2)]},
    ],
    "lines[0].quantity": [{"lines": [OrderLine(sku="a", quantity=n)]} for n in (0, 10_001, -1)],
    "lines[0].sku": [{"lines": [OrderLine(sku="No Such", quantity=1)]}],
}


@pytest.mark.parametrize(("field", "changes"), [(field, each) for field, all_ in BAD.items() for each in all_])
async def test_a_bad_field_is_named_and_nothing_is_written(
    orders: OrderServiceStub, field: str, changes: dict[str, object]
) -> None:
    """Rules live in the proto and hold whoever calls."""
    bad = request(**changes)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await orders.PlaceOrder(bad)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(refused.value)  # pyright: ignore[reportArgumentType] - it has all that is read
    assert status is not None
    details = error_details_pb2.BadRequest()
    assert any(detail.Unpack(details) for detail in status.details)
    assert field in [violation.field for violation in details.field_violations]
    if bad.customer_id == "ada":
        listed = await orders.ListOrders(rpc.ListOrdersRequest(customer_id="ada", page_size=100))
        assert all(order.lines != bad.lines for order in listed.orders)


async def test_an_order_is_placed_found_and_listed(orders: OrderServiceStub) -> None:
    """What was placed is there."""
    customer = f"customer-{uuid7()}"
    placed = await orders.PlaceOrder(request(customer_id=customer))
    assert await orders.GetOrder(rpc.GetOrderRequest(order_id=placed.order_id)) == placed
    listed = await orders.ListOrders(rpc.ListOrdersRequest(customer_id=customer, status=Order.PENDING))
    assert list(listed.orders) == [placed]
    timeline = await orders.GetOrderTimeline(rpc.GetOrderTimelineRequest(order_id=placed.order_id))
    assert [entry.event for entry in timeline.entries] == ["shop.order.v1.OrderPlaced"]


async def test_an_unknown_order_is_not_found(orders: OrderServiceStub) -> None:
    """Also for its saga, the stream and the timeline."""
    unknown = str(uuid7())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await orders.GetOrder(rpc.GetOrderRequest(order_id=unknown))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await orders.GetSaga(rpc.GetSagaRequest(order_id=unknown))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await orders.GetOrderTimeline(rpc.GetOrderTimelineRequest(order_id=unknown))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in orders.WatchOrder(rpc.WatchOrderRequest(order_id=unknown)):
            pass
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_the_saga_of_an_order_says_where_it_stands(orders: OrderServiceStub) -> None:
    """It waits for the stock, for as long as the settings allow."""
    placed = await orders.PlaceOrder(request())
    saga = await orders.GetSaga(rpc.GetSagaRequest(order_id=placed.order_id))
    assert (saga.order_id, saga.step, saga.attempt) == (placed.order_id, Saga.RESERVING_STOCK, 1)
    assert (saga.deadline.ToDatetime() - saga.step_time.ToDatetime()).total_seconds() == pytest.approx(20, abs=1)
    assert not saga.HasField("reason")
    assert not saga.HasField("park_time")


async def test_the_table_of_the_saga_is_the_same_for_all(orders: OrderServiceStub) -> None:
    """It needs no order."""
    assert await orders.GetSagaTable(rpc.GetSagaTableRequest()) == saga_table.get_saga_table()


async def test_a_saga_that_is_not_parked_is_not_retried(orders: OrderServiceStub) -> None:
    """An operator's mistake is told as one."""
    placed = await orders.PlaceOrder(request())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await orders.RetrySaga(rpc.RetrySagaRequest(order_id=placed.order_id))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
