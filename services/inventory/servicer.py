"""The inventory service's RPCs: each names the handler that answers it."""

from typing import Any

from shop.inventory.v1 import inventory_service_pb2 as rpc
from shop.inventory.v1.inventory_pb2 import Reservation, StockItem
from shop.inventory.v1.inventory_service_pb2_grpc import InventoryServiceServicer

from chassis.database import Database
from services.inventory import handlers, stock


class InventoryServicer(InventoryServiceServicer):
    """gRPC in, handlers behind."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ReserveStock(self, request: rpc.ReserveStockRequest, context: Any) -> Reservation:
        return await self._database.unit_of_work(handlers.reserve_stock, request)

    async def ReleaseStock(self, request: rpc.ReleaseStockRequest, context: Any) -> Reservation:
        return await self._database.unit_of_work(handlers.release_stock, request)

    async def Restock(self, request: rpc.RestockRequest, context: Any) -> StockItem:
        return await self._database.unit_of_work(stock.restock, request)

    async def GetReservation(self, request: rpc.GetReservationRequest, context: Any) -> Reservation:
        async with self._database.single() as once:
            return await handlers.get_reservation(once, request)

    async def GetStock(self, request: rpc.GetStockRequest, context: Any) -> StockItem:
        async with self._database.single() as once:
            return await stock.get_stock(once, request)

    async def ListStock(self, request: rpc.ListStockRequest, context: Any) -> rpc.ListStockResponse:
        async with self._database.single() as once:
            return await stock.list_stock(once, request)
