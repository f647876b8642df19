"""The settings of the payment service."""

from pydantic import Field

from chassis.settings import AdminPort, GrpcPort, ServiceSettings


class PaymentSettings(ServiceSettings):
    """Where the card network is and how long the card worker waits for it."""

    admin_port: AdminPort = 9103
    grpc_port: GrpcPort = 50052
    card_network_url: str = Field("http://127.0.0.1:8090", description="Where the card network takes charges.")
    card_network_timeout_seconds: float = Field(
        5.0, gt=0, description="Patience for one answer of the card network; what comes later is asked for."
    )
    card_worker_concurrency_max: int = Field(
        64, ge=2, le=1000, description="Payments worked side by side, each with one call open at most."
    )
