"""The settings of the inventory service."""

from pydantic import Field

from chassis.settings import AdminPort, GrpcPort, ServiceSettings


class InventorySettings(ServiceSettings):
    """What every service takes, on ports of its own, and how long an order may hold stock."""

    admin_port: AdminPort = 9104
    grpc_port: GrpcPort = 50053
    reserve_deadline_seconds: float = Field(default=20.0, gt=0, description="The order service's, as it holds there.")
    charge_deadline_seconds: float = Field(default=30.0, gt=0, description="The order service's, as it holds there.")
    park_after_seconds: float = Field(default=300.0, gt=0, description="The order service's, as it holds there.")

    @property
    def held_seconds_max(self) -> float:
        """Both steps forward, and both back until a person is called: by then an order has shipped or given back."""
        return self.reserve_deadline_seconds + self.charge_deadline_seconds + 2 * self.park_after_seconds
