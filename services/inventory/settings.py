"""The settings of the inventory service."""

from chassis.settings import AdminPort, GrpcPort, ServiceSettings


class InventorySettings(ServiceSettings):
    """What every service takes, on ports of its own."""

    admin_port: AdminPort = 9104
    grpc_port: GrpcPort = 50053
