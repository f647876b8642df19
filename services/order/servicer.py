"""The order service's RPCs: each names the handler or query that answers it."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from shop.order.v1 import order_service_pb2 as rpc
from shop.order.v1.order_pb2 import Order, Saga, SagaTable, TimelineEntry
from shop.order.v1.order_service_pb2_grpc import OrderServiceServicer

from chassis.database import Database
from services.order import handlers, orders, saga_table, timeline
from services.order.settings import OrderSettings


class OrderServicer(OrderServiceServicer):
    """gRPC in, handlers behind."""

    def __init__(self, database: Database, watchers: timeline.Watchers, settings: OrderSettings) -> None:
        self._database, self._watchers, self._settings = database, watchers, settings

    async def PlaceOrder(self, request: rpc.PlaceOrderRequest, context: Any) -> Order:
        return await self._database.unit_of_work(handlers.place_order, request, self._settings)

    async def CancelOrder(self, request: rpc.CancelOrderRequest, context: Any) -> Order:
        return await self._database.unit_of_work(handlers.cancel_order, request.order_id, self._settings)

    async def RetrySaga(self, request: rpc.RetrySagaRequest, context: Any) -> Saga:
        return await self._database.unit_of_work(handlers.retry_saga, request.order_id, self._settings)

    async def GetOrder(self, request: rpc.GetOrderRequest, context: Any) -> Order:
        async with self._database.single() as once:
            return await orders.get_order(once, request.order_id)

    async def ListOrders(self, request: rpc.ListOrdersRequest, context: Any) -> rpc.ListOrdersResponse:
        async with self._database.single() as once:
            return await orders.list_orders(once, request)

    async def ListSagas(self, request: rpc.ListSagasRequest, context: Any) -> rpc.ListSagasResponse:
        async with self._database.single() as once:
            return await orders.list_sagas(once, request)

    async def GetSaga(self, request: rpc.GetSagaRequest, context: Any) -> Saga:
        async with self._database.single() as once:
            return await orders.get_saga(once, request.order_id)

    async def GetSagaTable(self, request: rpc.GetSagaTableRequest, context: Any) -> SagaTable:
        return saga_table.get_saga_table()

    async def GetOrderTimeline(self, request: rpc.GetOrderTimelineRequest, context: Any) -> rpc.OrderTimeline:
        async with self._database.single() as once:
            entries = await timeline.get_order_timeline(once, request.order_id)
        return rpc.OrderTimeline(order_id=request.order_id, entries=entries)

    async def WatchOrder(self, request: rpc.WatchOrderRequest, context: Any) -> AsyncIterator[TimelineEntry]:
        try:
            async for entry in self._watchers.watch(request.order_id, request.after_position):
                yield entry
        except timeline.Closing:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is going away; resume with after_position")
