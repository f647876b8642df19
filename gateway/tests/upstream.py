"""The three services on a real gRPC server, with the chassis' interceptor but without a database behind them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from shop.inventory.v1 import inventory_pb2, inventory_service_pb2, inventory_service_pb2_grpc
from shop.money.v1 import money_pb2
from shop.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc
from shop.payment.v1 import payment_pb2, payment_service_pb2, payment_service_pb2_grpc
from uuid_utils.compat import uuid7

from chassis import errors, paging, telemetry
from chassis.grpc_server import Interceptor

UNKNOWN_ORDER = "0198d8c4-0000-7000-8000-00000000dead"
Order = order_pb2.Order


class Upstream:
    """What the services know, what they were asked, and how they may be made to fail."""

    def __init__(self) -> None:
        self.address = ""
        self.orders: dict[str, Order] = {}
        self.keys: dict[tuple[str, str], tuple[bytes, Order]] = {}
        self.timelines: dict[str, list[order_pb2.TimelineEntry]] = {}
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        # Called before an RPC is answered, by the RPC's name; whatever it raises is the answer.
        self.before: dict[str, Callable[[Any], Any]] = {}
        self.more_entries = asyncio.Event()
        self.watch_began, self.watch_ended = asyncio.Event(), asyncio.Event()
        self.watch_stays_open = False
        self.health = HealthServicer()

    async def enter(self, name: str, request: Any, context: Any) -> None:
        """Note the request, then fail if the test wants it."""
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if name in self.before:
            await self.before[name](context)

    def place(self, status: Order.Status = Order.PENDING) -> str:
        """An order that exists already."""
        order = Order(order_id=str(uuid7()), customer_id="ada", status=status, trace_id="a" * 32)
        order.lines.add(sku="espresso-beans", quantity=2)
        self.orders[order.order_id] = order
        return order.order_id

    def known(self, order_id: str) -> Order:
        if order_id not in self.orders:
            raise errors.NotFound(f"there is no order {order_id}")
        return self.orders[order_id]


class Orders(order_service_pb2_grpc.OrderServiceServicer):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def PlaceOrder(self, request: order_service_pb2.PlaceOrderRequest, context: Any) -> Order:
        await self._upstream.enter("PlaceOrder", request, context)
        content = order_service_pb2.PlaceOrderRequest()
        content.CopyFrom(request)
        content.ClearField("request_id")
        fingerprint = content.SerializeToString(deterministic=True)
        order = Order(order_id=str(uuid7()), customer_id=request.customer_id, lines=request.lines, status=Order.PENDING)
        order.trace_id = telemetry.trace_id()
        order.create_time.GetCurrentTime()
        key = (request.customer_id, request.request_id)
        known, order = self._upstream.keys.setdefault(key, (fingerprint, order))
        if known != fingerprint:
            raise errors.KeyReused("the key belongs to an order with other content", field="request_id")
        self._upstream.orders[order.order_id] = order
        return order

    async def GetOrder(self, request: order_service_pb2.GetOrderRequest, context: Any) -> Order:
        await self._upstream.enter("GetOrder", request, context)
        return self._upstream.known(request.order_id)

    async def ListOrders(
        self, request: order_service_pb2.ListOrdersRequest, context: Any
    ) -> order_service_pb2.ListOrdersResponse:
        await self._upstream.enter("ListOrders", request, context)
        paging.place(request.page_token, 1)
        return order_service_pb2.ListOrdersResponse(orders=self._upstream.orders.values())

    async def CancelOrder(self, request: order_service_pb2.CancelOrderRequest, context: Any) -> Order:
        await self._upstream.enter("CancelOrder", request, context)
        order = self._upstream.known(request.order_id)
        if order.status == Order.REJECTED:
            raise errors.WrongState("a rejected order cannot be cancelled")
        order.status, order.reason = Order.CANCELLED, Order.CANCELLED_BY_CUSTOMER
        return order

    async def GetOrderTimeline(
        self, request: order_service_pb2.GetOrderTimelineRequest, context: Any
    ) -> order_service_pb2.OrderTimeline:
        await self._upstream.enter("GetOrderTimeline", request, context)
        self._upstream.known(request.order_id)
        entries = self._upstream.timelines.get(request.order_id, [])
        return order_service_pb2.OrderTimeline(order_id=request.order_id, entries=entries)

    async def GetSaga(self, request: order_service_pb2.GetSagaRequest, context: Any) -> order_pb2.Saga:
        await self._upstream.enter("GetSaga", request, context)
        self._upstream.known(request.order_id)
        saga = order_pb2.Saga(order_id=request.order_id, step=order_pb2.Saga.CHARGING_PAYMENT, attempt=1)
        saga.step_time.GetCurrentTime()
        saga.deadline.GetCurrentTime()
        return saga

    async def GetSagaTable(self, request: order_service_pb2.GetSagaTableRequest, context: Any) -> order_pb2.SagaTable:
        await self._upstream.enter("GetSagaTable", request, context)
        reserving = order_pb2.Saga.RESERVING_STOCK
        return order_pb2.SagaTable(
            transitions=[
                order_pb2.SagaTransition(on="OrderPlaced", next=reserving, command="ReserveStock"),
                order_pb2.SagaTransition(step=reserving, on="ReservationRefused", next=order_pb2.Saga.REJECTED),
            ]
        )

    async def WatchOrder(
        self, request: order_service_pb2.WatchOrderRequest, context: Any
    ) -> AsyncIterator[order_pb2.TimelineEntry]:
        await self._upstream.enter("WatchOrder", request, context)
        self._upstream.known(request.order_id)
        seen = request.after_position
        self._upstream.watch_began.set()
        try:
            while True:
                for entry in self._upstream.timelines.get(request.order_id, [])[seen:]:
                    yield entry
                    seen = entry.position
                if not self._upstream.watch_stays_open:
                    break
                await self._upstream.more_entries.wait()
                self._upstream.more_entries.clear()
            if "WatchOrder.end" in self._upstream.before:
                await self._upstream.before["WatchOrder.end"](context)
        finally:
            self._upstream.watch_ended.set()


class Payments(payment_service_pb2_grpc.PaymentServiceServicer):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def GetPayment(self, request: payment_service_pb2.GetPaymentRequest, context: Any) -> payment_pb2.Payment:
        await self._upstream.enter("GetPayment", request, context)
        self._upstream.known(request.order_id)
        return payment_pb2.Payment(
            payment_id=str(uuid7()),
            order_id=request.order_id,
            state=payment_pb2.Payment.CHARGED,
            amount=money_pb2.Money(amount_minor=2_500, currency_code="EUR"),
        )


class Inventory(inventory_service_pb2_grpc.InventoryServiceServicer):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._items = {
            sku: inventory_pb2.StockItem(
                sku=sku, available=available, unit_price=money_pb2.Money(amount_minor=1_250, currency_code="EUR")
            )
            for sku, available in {"espresso-beans": 100, "sold-out": 0}.items()
        }

    def _known(self, sku: str) -> inventory_pb2.StockItem:
        if sku not in self._items:
            raise errors.NotFound(f"there is no article {sku}")
        return self._items[sku]

    async def GetStock(self, request: inventory_service_pb2.GetStockRequest, context: Any) -> inventory_pb2.StockItem:
        await self._upstream.enter("GetStock", request, context)
        return self._known(request.sku)

    async def ListStock(
        self, request: inventory_service_pb2.ListStockRequest, context: Any
    ) -> inventory_service_pb2.ListStockResponse:
        await self._upstream.enter("ListStock", request, context)
        paging.place(request.page_token, 1)
        return inventory_service_pb2.ListStockResponse(items=self._items.values(), next_page_token="more")

    async def Restock(self, request: inventory_service_pb2.RestockRequest, context: Any) -> inventory_pb2.StockItem:
        await self._upstream.enter("Restock", request, context)
        item = self._known(request.sku)
        item.available += request.quantity
        return item


async def serve(upstream: Upstream) -> grpc.aio.Server:
    """A started server for all three services on a free port, which `upstream.address` then names."""
    server = grpc.aio.server(interceptors=[Interceptor(5.0)])
    order_service_pb2_grpc.add_OrderServiceServicer_to_server(Orders(upstream), server)
    payment_service_pb2_grpc.add_PaymentServiceServicer_to_server(Payments(upstream), server)
    inventory_service_pb2_grpc.add_InventoryServiceServicer_to_server(Inventory(upstream), server)
    health_pb2_grpc.add_HealthServicer_to_server(upstream.health, server)
    upstream.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    await upstream.health.set("", health_pb2.HealthCheckResponse.SERVING)
    return server
