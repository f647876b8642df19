"""The caller goes while the order is being written: the work ends, and its span ends with it."""

import asyncio
import time
from uuid import uuid4

import asyncpg
import grpc.aio
import pytest
from shop.order.v1.order_pb2 import OrderLine
from shop.order.v1.order_service_pb2 import ListOrdersRequest, PlaceOrderRequest
from shop.order.v1.order_service_pb2_grpc import OrderServiceStub

from e2e.conftest import BEANS, Shop, embedded, eventually
from e2e.kinds import BY_NAME
from e2e.tree import Tree
from infra.local.system import System as Embedded


@embedded
async def test_a_caller_who_hangs_up_leaves_a_whole_order(shop: Shop) -> None:
    """The order goes on to its end, in one trace whose first span lasts as long as the work, not as the call."""
    assert isinstance(shop.system, Embedded)
    customer = f"hasty-{uuid4()}"
    request = PlaceOrderRequest(
        customer_id=customer,
        card_token="tok_visa",
        lines=[OrderLine(sku=BEANS, quantity=1)],
        request_id=str(uuid4()),
    )
    owner = await asyncpg.connect(shop.system.database_url("order", "order_owner").replace("+asyncpg", ""))
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{shop.system.ports.order_grpc}") as channel:
            orders = OrderServiceStub(channel)
            async with owner.transaction():
                await owner.execute("LOCK TABLE orders IN SHARE MODE")
                call = asyncio.ensure_future(orders.PlaceOrder(request, timeout=10))
                await eventually(lambda: is_held_up(owner), "the order waits for the lock")
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                # On the same connection, so that the server has heard of the end before it answers this.
                assert not (await orders.ListOrders(ListOrdersRequest(customer_id=customer), timeout=10)).orders
                freed_ns = time.time_ns()
    finally:
        await owner.close()

    async def placed() -> str | None:
        listed = (await shop.get(f"/v1/orders?customer_id={customer}"))["orders"]
        return listed[0]["orderId"] if listed else None

    order = await shop.ended(await eventually(placed, "the order is there"))
    assert order["status"] == "CONFIRMED"
    tree = Tree(order["traceId"], await shop.trace(order["traceId"], until=BY_NAME["confirmed"].is_told))
    assert tree.roots == [tree.order]
    assert tree.orphans == []
    assert tree.order.attributes["rpc.status_code"] == "CANCELLED"
    assert tree.order.end_ns > freed_ns
    assert tree.order.end_ns >= max(span.end_ns for span in tree.named("INSERT orders"))


async def is_held_up(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
