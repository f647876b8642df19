"""gRPC servers: bounded, with health and reflection, and an interceptor before every servicer."""

import asyncio

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis import errors
from chassis.grpc_health import Health
from chassis.grpc_interceptor import Interceptor
from chassis.grpc_limits import CALLS_OF_A_CONNECTION_MAX
from chassis.grpc_reflection import Reflection


class Server:
    """A gRPC server with health and reflection, that ends without dropping a call in hand."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        deadline_seconds: float = 5.0,
        calls_max: int = 2_000,
        grace_seconds: float = 10.0,
    ) -> None:
        self._where, self._grace_seconds = (host, port), grace_seconds
        self._health = Health()
        self._serving = False
        self.grpc = grpc.aio.server(
            interceptors=[Interceptor(deadline_seconds)],
            # What comes beyond is RESOURCE_EXHAUSTED at once, instead of waiting for its deadline in memory.
            maximum_concurrent_rpcs=calls_max,
            options=[
                # One process must not take a port another one serves; the default would share it silently.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", 256 * 1024),
                ("grpc.max_concurrent_streams", CALLS_OF_A_CONNECTION_MAX),
                # Those that have come and not begun: from the thousandth on gRPC would drop some of them by chance.
                ("grpc.server.max_pending_requests", calls_max),
                ("grpc.server.max_pending_requests_hard_limit", 2 * calls_max),
                # Clients come back to find new replicas. No grace is set, so a stream in hand may outlive its time.
                ("grpc.max_connection_age_ms", 30_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )

    async def serving(self) -> None:
        """Raises ConnectionError unless calls are taken."""
        if not self._serving:
            raise ConnectionError("gRPC is not being served yet")

    async def run(self, stopping: asyncio.Event, *service_names: str) -> None:
        """Serve until `stopping` is set, then let the calls in hand end, as long as the grace allows.

        Raises:
            Misconfigured: somebody else listens there.
        """
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        Reflection((*service_names, health)).add_to(self.grpc)
        try:
            self.grpc.add_insecure_port("{}:{}".format(*self._where))
        except RuntimeError as error:
            raise errors.port_taken("GRPC_PORT", *self._where) from error
        await self.grpc.start()
        for name in ("", *service_names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._serving = True
        await stopping.wait()
        await self._health.enter_graceful_shutdown()
        await self.grpc.stop(self._grace_seconds)
