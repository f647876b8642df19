"""Figures that live in the database, such as how much waits in an outbox, measured now and then for /metrics."""

import asyncio
from collections.abc import Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Observation

from chassis import kafka, telemetry
from chassis.database import Database, Sql, outages

OUTBOX: Mapping[str, str] = {
    "shop.outbox.backlog": "SELECT count(*) FROM outbox WHERE published_at IS NULL",
    "shop.outbox.backlog_age_seconds": """
        SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)
        FROM outbox WHERE published_at IS NULL""",
}
COMMAND_OUTBOX: Mapping[str, str] = {
    "shop.command_outbox.backlog": "SELECT count(*) FROM command_outbox",
    "shop.command_outbox.backlog_age_seconds": """
        SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0) FROM command_outbox""",
}


class Gauges:
    """Measures named one-number queries in one statement.

    Args:
        queries: metric name to a query of one row and one column.
    """

    def __init__(
        self, database: Database, queries: Mapping[str, str], *, stopping: asyncio.Event, interval_seconds: float = 5.0
    ) -> None:
        self._database, self._stopping, self._interval_seconds = database, stopping, interval_seconds
        self._names = list(queries)
        columns = ", ".join(f"({query}) AS m{number}" for number, query in enumerate(queries.values()))
        self._sql = Sql("SELECT gauges", f"SELECT {columns}")
        self.values: dict[str, float] = {}
        for name in self._names:
            telemetry.meter.create_observable_gauge(name, callbacks=[self._reader(name)])

    def _reader(self, name: str):
        def read(_options: CallbackOptions) -> Iterable[Observation]:
            if name in self.values:
                yield Observation(self.values[name])

        return read

    async def run(self) -> None:
        """Measure until the process is to stop."""
        while True:
            with outages("no figures") as outage:
                await self.measure()
            if outage.happened:
                self.values.clear()
            if await kafka.wait(self._stopping, self._interval_seconds):
                return

    async def measure(self) -> Mapping[str, float]:
        """The figures now."""
        async with self._database.single() as once:
            with telemetry.unrecorded():
                row = await once.first(self._sql)
        assert row is not None  # noqa: S101 - a SELECT without FROM has one row
        self.values = {name: float(value) for name, value in zip(self._names, row, strict=True)}
        return self.values
