"""The payment service's RPCs: each names the handler that answers it."""

from typing import Any

from shop.payment.v1 import payment_service_pb2 as rpc
from shop.payment.v1.payment_pb2 import Payment
from shop.payment.v1.payment_service_pb2_grpc import PaymentServiceServicer

from chassis.database import Database
from services.payment import handlers


class PaymentServicer(PaymentServiceServicer):
    """gRPC in, handlers behind."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ChargePayment(self, request: rpc.ChargePaymentRequest, context: Any) -> Payment:
        return await self._database.unit_of_work(handlers.charge_payment, request)

    async def RefundPayment(self, request: rpc.RefundPaymentRequest, context: Any) -> Payment:
        return await self._database.unit_of_work(handlers.refund_payment, request)

    async def GetPayment(self, request: rpc.GetPaymentRequest, context: Any) -> Payment:
        async with self._database.single() as once:
            return await handlers.get_payment(once, request)
