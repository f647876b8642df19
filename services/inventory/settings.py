"""The settings of the inventory service."""

from chassis.settings import Port, ServiceSettings


class InventorySettings(ServiceSettings):
    """What every service takes, on ports of its own."""

    admin_port: Port = 9104
    grpc_port: Port = 50053
