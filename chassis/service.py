"""A service: the parts that each of them runs, put together; what is its own is in its `__main__`.

gRPC server ─ unit of work ─ outbox ─ relay ─▶ Kafka ─▶ consumer ─ inbox ─ unit of work …
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chassis import dead_letters, gauges, kafka, migrate
from chassis.consumer import Consumer
from chassis.database import Database, checked, outages
from chassis.dead_letters import DeadLetters
from chassis.gauges import Figure
from chassis.grpc_server import Server
from chassis.process import Loop, Process
from chassis.relay import Relay
from chassis.retention import Retention
from chassis.router import Subscription
from chassis.settings import ServiceSettings


class Service:
    """Collects what a service hears, serves and measures, and runs it until the process is to stop.

    Args:
        name: also the source of its events and the name of its database.
        migrations: the folder of its Alembic migrations.
    """

    def __init__(self, name: str, settings: ServiceSettings, process: Process, migrations: Path) -> None:
        self._name, self._settings, self._process, self._migrations = name, settings, process, migrations
        self.database = Database(settings.database_url, settings.database_pool_size)
        self._server = Server(
            settings.host,
            settings.grpc_port,
            deadline_seconds=settings.grpc_deadline_seconds,
            calls_max=settings.grpc_calls_max,
            grace_seconds=settings.shutdown_grace_seconds,
        )
        self._served: list[str] = []
        self._figures: dict[str, Figure] = dict(gauges.OUTBOX)
        self._loops: dict[str, Loop] = {
            "relay": self._relay,
            "retention": Retention(self.database, seconds=settings.retention_seconds, stopping=process.stopping).run,
        }

    def serve(self, service_name: str, add_to_server: Callable[[Any, Any], None], servicer: object) -> None:
        """Answer the RPCs of `service_name` (full name) by `servicer`, registered by its generated function."""
        add_to_server(servicer, self._server.grpc)
        self._served.append(service_name)

    def subscribe(self, subscription: Subscription) -> None:
        """Hear what the subscription lists."""

        # Kafka clients are made when they run: a process that ends before has none to leave behind.
        async def hear() -> None:
            settings, group, stopping = self._settings, subscription.group, self._process.stopping
            await Consumer(
                self.database,
                kafka.consumer(settings, group),
                subscription,
                DeadLetters(dead_letters.producer(settings, group), stopping),
                stopping=stopping,
                batch_max=settings.consumer_batch_max,
                attempts_max=settings.handler_attempts_max,
                trace_async=settings.trace_async,
            ).run()

        self._loops[f"consumer_{subscription.group}"] = hear

    async def _relay(self) -> None:
        await Relay(
            self.database,
            kafka.producer(self._settings, self._name),
            source=self._name,
            stopping=self._process.stopping,
            poll_interval_seconds=self._settings.relay_poll_interval_seconds,
        ).run()

    def measure(self, figures: Mapping[str, Figure]) -> None:
        """Report the figures as gauges, by their names."""
        self._figures |= figures

    async def run(self, **loops: Loop) -> None:
        """Migrate, then run everything, and `loops` beside it, until the process is to stop."""
        stopping = self._process.stopping
        # Before anything that takes time: a process without a check would count as ready.
        self._process.ready_when("database", self.database.ping)
        self._process.ready_when("grpc", self._server.serving)
        try:
            await migrate.to_head(self._settings.database_owner_url, self._migrations, stopping)
            with outages("the start goes on"), checked("DATABASE_URL"):
                await self.database.ping()
            await self._process.supervise(
                grpc=lambda: self._server.run(stopping, *self._served),
                gauges=gauges.Gauges(self.database, self._figures, stopping=stopping).run,
                **self._loops,
                **loops,
            )
        finally:
            await self.database.close()
