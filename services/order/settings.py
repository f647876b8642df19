"""The settings of the order service."""

from pydantic import Field

from chassis.settings import AdminPort, GrpcPort, ServiceSettings


class OrderSettings(ServiceSettings):
    """Where the participants are and how long the saga waits for them."""

    admin_port: AdminPort = 9102
    grpc_port: GrpcPort = 50051
    inventory_address: str = Field(default="127.0.0.1:50053", description="A gRPC target.")
    payment_address: str = Field(default="127.0.0.1:50052", description="A gRPC target.")
    reserve_deadline_seconds: float = Field(default=20.0, gt=0, description="Patience for a reservation.")
    charge_deadline_seconds: float = Field(default=30.0, gt=0, description="Patience for a charge.")
    compensation_retry_seconds: float = Field(default=10.0, gt=0, description="When a compensation is sent again.")
    park_after_seconds: float = Field(default=300.0, gt=0, description="When a compensation is left to an operator.")
    story_seconds: float = Field(
        default=600.0,
        ge=0,
        description="What a customer or an operator begins longer than this after the POST gets a trace of its own.",
    )
    deadline_poll_seconds: float = Field(default=1.0, gt=0, description="How often passed deadlines are looked for.")
    watch_seconds_max: float = Field(default=300.0, gt=0, description="How long WatchOrder streams at most.")
