"""Figures that live in the database, such as how much waits in an outbox, measured now and then for /metrics.

Each is a statement of its own that reads one end of an index and stops there: what it costs does not grow with what is
stored, and one that fails takes no other with it.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from opentelemetry.metrics import CallbackOptions, Observation

from chassis import kafka, logs, telemetry
from chassis.database import Database, Sql, is_overdue, is_transient, outages

log = logs.get(__name__)

# What is behind it changes nothing for whoever looks: it is far too much, and its age says for how long.
COUNTED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the database, and what /metrics says it is.

    Args:
        query: of one row and one column that is not null; an index alone answers it.
        parameters: those of the query.
    """

    query: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


def backlog(description: str, rows: str, **parameters: Any) -> Figure:
    """How many rows there are, as far as that is counted.

    Args:
        rows: `FROM … WHERE … ORDER BY …` in the order of an index that has every column which is named.
    """
    return Figure(
        f"SELECT count(*) FROM (SELECT {rows} LIMIT {COUNTED_MAX}) AS counted",  # noqa: S608 - the words are ours
        f"{description}; counted to {COUNTED_MAX:,} and no further.",
        parameters,
    )


def age(description: str, moment: str, rows: str) -> Figure:
    """How long ago the earliest `moment` of the rows was, in seconds; 0 without a row.

    Args:
        rows: `FROM … WHERE …`; an index has them in the order of their moments.
    """
    oldest = f"SELECT {moment} {rows} ORDER BY {moment} LIMIT 1"
    return Figure(
        f"SELECT coalesce(extract(epoch FROM clock_timestamp() - ({oldest})), 0)",  # noqa: S608 - the words are ours
        description,
    )


_UNPUBLISHED = "FROM outbox WHERE published_at IS NULL"
OUTBOX: Mapping[str, Figure] = {
    "shop.outbox.backlog": backlog("Events that wait for Kafka", f"{_UNPUBLISHED} ORDER BY created_at"),
    "shop.outbox.backlog_age_seconds": age(
        "For how long the oldest event has waited for Kafka.", "created_at", _UNPUBLISHED
    ),
}
COMMAND_OUTBOX: Mapping[str, Figure] = {
    "shop.command_outbox.backlog": backlog(
        "Commands that were not accepted yet", "FROM command_outbox ORDER BY created_at"
    ),
    "shop.command_outbox.backlog_age_seconds": age(
        "For how long the oldest command has waited to be accepted.", "created_at", "FROM command_outbox"
    ),
}


class Gauges:
    """Measures figures, one after the other."""

    def __init__(
        self,
        database: Database,
        figures: Mapping[str, Figure],
        *,
        stopping: asyncio.Event,
        interval_seconds: float = 5.0,
    ) -> None:
        self._database, self._stopping, self._interval_seconds = database, stopping, interval_seconds
        self._figures = {name: (Sql(f"SELECT {name}", figure.query), figure) for name, figure in figures.items()}
        self._failing = set[str]()
        self.values: dict[str, float] = {}
        for name, figure in figures.items():
            telemetry.meter.create_observable_gauge(
                name, callbacks=[self._reader(name)], description=figure.description
            )

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
        """The figures now, without those that fail."""
        for name, (sql, figure) in self._figures.items():
            try:
                self.values[name] = await self._number(sql, figure.parameters)
            except asyncpg.PostgresError as error:
                if is_transient(error) and not is_overdue(error):
                    raise
                # The server answers, so it is about this figure alone. No figure rather than an old one.
                self.values.pop(name, None)
                if name not in self._failing:
                    log.warning("a figure cannot be measured; the others are", figure=name, error=repr(error))
                self._failing.add(name)
            else:
                self._failing.discard(name)
        return self.values

    async def _number(self, sql: Sql, parameters: Mapping[str, Any]) -> float:
        async with self._database.single() as once:
            with telemetry.unrecorded():
                row = await once.first(sql, **parameters)
        assert row is not None  # noqa: S101 - a count, or a SELECT without FROM, has one row
        return float(row[0])
