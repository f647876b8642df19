"""A worker that is killed at the worst moment: `python -m chassis.tests.crash relay|consumer|dispatcher …`.

Each ends by SIGKILL between an effect that the world has seen and the mark that remembers it.
"""

import asyncio
import os
import signal
import sys
from typing import Any

from google.protobuf.wrappers_pb2 import Int64Value

from chassis import consumer, dispatcher, grpc_client, kafka, relay
from chassis.consumer import Consumer
from chassis.database import Database, Transaction
from chassis.dead_letters import DeadLetters
from chassis.dispatcher import CommandRefused, Dispatcher
from chassis.relay import Relay
from chassis.router import Subscription
from chassis.settings import ServiceSettings
from chassis.tests.participant import NAME
from chassis.tests.surroundings import note_effect


def die(*_arguments: Any, **_named: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class SentNotMarked(Relay):
    """Kafka has the events, the outbox does not know."""

    async def _send(self, rows: Any, ends_at: float) -> Any:
        await super()._send(rows, ends_at)
        die()


class AppliedNotCommitted(Consumer):
    """The database has the effects, Kafka does not know the offsets."""

    async def commit(self) -> None:
        if any(self._stands(partition) for partition in self._client.assignment()):
            die()


class AcceptedNotDeleted(Dispatcher):
    """The receiver has accepted, or refused for ever, and the command is still in the outbox."""

    async def _claim(self, room: int, delivered: Any) -> Any:
        if delivered:
            die()
        return await super()._claim(room, delivered)


async def main() -> None:
    """Work until killed."""
    settings = ServiceSettings()  # pyright: ignore[reportCallIssue] - from the environment
    database, stopping = Database(settings.database_url), asyncio.Event()
    match sys.argv[1:]:
        case ["relay", lease_seconds]:
            relay.LEASE_SECONDS = float(lease_seconds)
            producer = kafka.producer(settings, "crash")
            await SentNotMarked(database, producer, source="test", stopping=stopping).run()
        case ["consumer", group, topic]:
            consumer.COMMIT_INTERVAL_SECONDS = 0.0
            await AppliedNotCommitted(
                database,
                kafka.consumer(settings, group),
                Subscription(group, (topic,), {Int64Value: note_effect}),
                DeadLetters(kafka.producer(settings, "crash"), stopping),
                stopping=stopping,
            ).run()
        case ["dispatcher", address, claim_seconds]:
            dispatcher.CLAIM_MARGIN_SECONDS = 0.5
            dispatcher.RPC_DEADLINE_SECONDS = float(claim_seconds) - 0.5

            async def refused(_transaction: Transaction, _refused: CommandRefused) -> None:
                die()

            channel = grpc_client.connect(address, retries=False, traced=False)
            await AcceptedNotDeleted(database, {NAME: channel}, refused, decided_by=main, stopping=stopping).run()
        case wrong:
            raise SystemExit(f"unknown: {wrong}")


if __name__ == "__main__":
    asyncio.run(main())
