"""The saga's timer: deadlines are rows, so a waiting saga holds no task, and a restart forgets none."""

import asyncio

from chassis import kafka, telemetry
from chassis.database import Database, Sql, outages
from services.order import handlers
from services.order.settings import OrderSettings

_DUE = Sql(
    "SELECT sagas",
    "SELECT order_id FROM sagas WHERE deadline_at <= clock_timestamp() ORDER BY deadline_at LIMIT 100",
)


class Deadlines:
    """Lets sagas hear that their deadline has passed; replicas may try the same one, its lock lets one judge it."""

    def __init__(self, database: Database, settings: OrderSettings, stopping: asyncio.Event) -> None:
        self._database, self._settings, self._stopping = database, settings, stopping

    async def run(self) -> None:
        """Look for passed deadlines until the process is to stop."""
        while not await kafka.wait(self._stopping, self._settings.deadline_poll_seconds):
            with outages("deadlines wait"):
                await self.pass_due()

    async def pass_due(self) -> int:
        """Pass every deadline that is due now; returns how many there were."""
        async with self._database.single() as once:
            with telemetry.unrecorded():
                due = await once.all(_DUE)
        for row in due:
            await self._database.unit_of_work(handlers.pass_deadline, row.order_id, self._settings)
        return len(due)
