"""The gateway's process: which services it offers over HTTP, and where they are."""

from contextlib import AsyncExitStack
from functools import partial

from shop.inventory.v1 import inventory_service_pb2
from shop.order.v1 import order_service_pb2
from shop.payment.v1 import payment_service_pb2

from chassis import grpc_client, process
from explorer.client import Client
from gateway import probes
from gateway.app import create_app
from gateway.server import serve
from gateway.settings import GatewaySettings


async def main(settings: GatewaySettings, gateway: process.Process) -> None:
    """Serve until the process is to stop."""
    async with AsyncExitStack() as stack:
        order, payment, inventory = [
            await stack.enter_async_context(grpc_client.connect(address))
            for address in (settings.order_address, settings.payment_address, settings.inventory_address)
        ]
        services = {
            "order": (order_service_pb2.DESCRIPTOR.services_by_name["OrderService"], order),
            "payment": (payment_service_pb2.DESCRIPTOR.services_by_name["PaymentService"], payment),
            "inventory": (inventory_service_pb2.DESCRIPTOR.services_by_name["InventoryService"], inventory),
        }
        for name, (_, channel) in services.items():
            gateway.ready_when(name, partial(probes.check, channel))
        client = await stack.enter_async_context(Client())
        app = create_app(settings, services, gateway.stopping, client)
        await gateway.supervise(http=partial(serve, app, settings, gateway.stopping))


if __name__ == "__main__":
    process.run("gateway", GatewaySettings, main)
