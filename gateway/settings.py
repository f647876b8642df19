"""What the gateway takes from its environment."""

from pydantic import Field

from chassis.settings import AdminPort, Port
from explorer.settings import ExplorerSettings


class GatewaySettings(ExplorerSettings):
    """The gateway's own settings beside those of the explorer that it serves, and of every process."""

    admin_port: AdminPort = 9101
    http_port: Port = Field(8080, description="Where the gateway listens for HTTP.")
    order_address: str = Field("127.0.0.1:50051", description="The gRPC target of the order service.")
    payment_address: str = Field("127.0.0.1:50052", description="The gRPC target of the payment service.")
    inventory_address: str = Field("127.0.0.1:50053", description="The gRPC target of the inventory service.")
    call_deadline_seconds: float = Field(5.0, gt=0, description="How long a unary call may take.")
    stream_deadline_seconds: float = Field(330.0, gt=0, description="How long a stream may stay open.")
    stream_open_seconds: float = Field(
        2.0, gt=0, description="How long a stream's answer waits for the service to accept or refuse it."
    )
    stream_keep_alive_seconds: float = Field(15.0, gt=0, description="A silent event stream gets a comment this often.")
    body_bytes_max: int = Field(64 * 1024, ge=1, description="The largest request body that is read.")
    body_seconds_max: float = Field(10.0, gt=0, description="How long a client may take to send its body.")
    header_bytes_max: int = Field(16 * 1024, ge=1024, description="The largest request line and headers, together.")
    connections_max: int = Field(1_000, ge=1, description="The most connections that are open at once.")
    idle_seconds_max: int = Field(
        30,
        ge=1,
        description="How long a connection may take for a whole request head, from its start or its last answer.",
    )
    calls_max: int = Field(500, ge=1, description="The most unary requests that are in hand at once.")
    streams_max: int = Field(500, ge=1, description="The most streams that are open at once.")
