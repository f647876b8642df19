"""A service's events of a time span told once more, from the rows of its outbox, in the role that may only read."""

import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from catalogue import HEARD_BY, SERVICE
from cli.outboxes import asked
from cli.systems.running import Running

# Of a page the command holds every payload at once.
PAGE_ROWS = 500
FIRST = UUID(int=0)

# By when Kafka had them, not by when they happened: that is what a tail which Kafka has lost has in common.
_SPAN = """
SELECT json_build_object(
    'count', (SELECT count(*) FROM outbox WHERE published_at >= '{since}' AND published_at < '{until}'),
    'oldest', (SELECT published_at FROM outbox WHERE published_at IS NOT NULL ORDER BY published_at LIMIT 1))
"""
_PAGE = f"""
SELECT coalesce(json_agg(event), '[]'::json) FROM (
    SELECT id, topic, subject, sequence, type, encode(payload, 'base64') AS payload, traceparent, tracestate,
           created_at, published_at
    FROM outbox WHERE published_at < '{{until}}' AND (published_at, id) > ('{{since}}', '{{behind}}')
    ORDER BY published_at, id LIMIT {PAGE_ROWS}
) AS event
"""  # noqa: S608 - moments and ids are put in, which were read as such


@dataclass(slots=True)
class Progress:
    """How far it has come: all that Kafka had before `until_now` is told again."""

    count: int
    oldest: datetime | None
    until_now: datetime
    sent: int = 0
    is_taken: bool = True


async def republish(
    system: Running, service: str, since: datetime, until: datetime, say: Callable[[Progress], None]
) -> Progress:
    """Send again what the service's outbox has of that span; a broker that does not answer raises KafkaError.

    Args:
        say: called before the first event is sent, and after each batch. What was told by then need not be sent again:
            go on from `until_now`.
    """
    from chassis.republish import Republisher

    span = await asked(system, service, _SPAN.format(since=since.isoformat(), until=until.isoformat()))
    oldest = datetime.fromisoformat(span["oldest"]) if span["oldest"] else None
    progress = Progress(span["count"], oldest, since)
    say(progress)
    async with Republisher(system.kafka, groups(service)) as again:
        batch: list[dict[str, Any]] = []
        async for row in _rows(system, service, since, until):
            # A batch has one topic, as each service has.
            batch.append(row)
            if len(batch) >= again.batch:
                await _send(again, service, batch, progress)
                say(progress)
                batch = []
        if batch:
            await _send(again, service, batch, progress)
            say(progress)
    progress.until_now = until
    return progress


def groups(service: str) -> list[str]:
    """Whoever does something about the service's events."""
    package = SERVICE[service].rpc.rpartition(".")[0]
    return sorted({group for event, heard in HEARD_BY.items() if event.startswith(f"{package}.") for group in heard})


async def _send(again: Any, service: str, rows: list[dict[str, Any]], progress: Progress) -> None:
    from chassis.messages import Envelope
    from chassis.telemetry import TraceContext

    events = [
        Envelope(
            id=UUID(row["id"]),
            type=row["type"],
            source=service,
            subject=row["subject"],
            time=datetime.fromisoformat(row["created_at"]),
            sequence=row["sequence"],
            trace=TraceContext(row["traceparent"], row["tracestate"]),
            payload=base64.b64decode(row["payload"]),
        )
        for row in rows
    ]
    progress.is_taken = await again.send(rows[0]["topic"], events)
    progress.sent += len(rows)
    progress.until_now = datetime.fromisoformat(rows[-1]["published_at"])


async def _rows(system: Running, service: str, since: datetime, until: datetime) -> AsyncIterator[dict[str, Any]]:
    """A page at a time, in the order in which Kafka had them."""
    behind, place = FIRST, since.isoformat()
    while True:
        page = await asked(system, service, _PAGE.format(since=place, until=until.isoformat(), behind=behind))
        for row in page:
            yield row
        if len(page) < PAGE_ROWS:
            return
        behind, place = page[-1]["id"], page[-1]["published_at"]
