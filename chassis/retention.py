"""Forgets what is old: published events and inbox rows, a thousand at a time, once they are past their retention."""

import asyncio
import random

from chassis import kafka, telemetry
from chassis.database import Database, Sql, outages

INTERVAL_SECONDS = 60.0
_BATCH = 1000

# Old by the statement's time: clock_timestamp() is no condition for an index, every row would be asked how old it is.
_PRUNE_OUTBOX = Sql(
    "DELETE outbox",
    """
    DELETE FROM outbox WHERE id IN (
        SELECT id FROM outbox WHERE published_at < statement_timestamp() - make_interval(secs => :seconds) LIMIT 1000)
    """,
)
_PRUNE_INBOX = Sql(
    "DELETE inbox",
    """
    DELETE FROM inbox WHERE (consumer_group, message_id) IN (
        SELECT consumer_group, message_id FROM inbox
        WHERE received_at < statement_timestamp() - make_interval(secs => :seconds) LIMIT 1000)
    """,
)


class Retention:
    """Prunes one service's outbox and inbox.

    An outcome can be told again only while its outbox row exists, and a repeated message is recognised only while its
    inbox row does: keep both longer than Kafka keeps messages and a saga may be parked.
    """

    def __init__(self, database: Database, *, seconds: float, stopping: asyncio.Event) -> None:
        self._database, self._seconds, self._stopping = database, seconds, stopping

    async def run(self) -> None:
        """Prune until the process is to stop; replicas drift apart by the jitter."""
        while not await kafka.wait(self._stopping, INTERVAL_SECONDS * random.uniform(0.5, 1.5)):  # noqa: S311
            with outages("nothing is pruned"):
                await self.prune()

    async def prune(self) -> None:
        """Delete everything past its retention, in short transactions."""
        for statement in (_PRUNE_OUTBOX, _PRUNE_INBOX):
            deleted = _BATCH
            while deleted == _BATCH and not self._stopping.is_set():
                async with self._database.single() as once:
                    with telemetry.unrecorded():
                        deleted = await once.run(statement, seconds=self._seconds)
