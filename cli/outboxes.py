"""What waits in a service's outboxes, read from its tables by the role that may only read; and why it waits."""

import asyncio
import json
from typing import Any

from catalogue import SERVICES
from cli.systems.running import Running

# A promise that is younger has had no time to be kept.
SOON_SECONDS = 1.0
ROWS_MAX = 100
# What waits is counted so far and no further, as the services' own figures are.
COUNTED_MAX = 10_000

Json = dict[str, Any]

_EVENTS = f"""
SELECT json_build_object(
    'count', (SELECT count(*) FROM (
        SELECT FROM outbox WHERE published_at IS NULL ORDER BY created_at LIMIT {COUNTED_MAX}) AS counted),
    'leaseSeconds', (SELECT extract(epoch FROM until - clock_timestamp()) FROM relay_lease WHERE name = 'outbox'),
    'rows', (
        SELECT coalesce(json_agg(waiting ORDER BY "ageSeconds" DESC), '[]'::json) FROM (
            SELECT id, type, topic, subject AS "orderId", sequence,
                   extract(epoch FROM clock_timestamp() - created_at) AS "ageSeconds",
                   split_part(traceparent, '-', 2) AS "traceId"
            FROM outbox WHERE published_at IS NULL ORDER BY created_at LIMIT {ROWS_MAX}
        ) AS waiting
    )
)
"""  # noqa: S608 - the numbers are ours
_COMMANDS = f"""
SELECT json_build_object(
    'count', (SELECT count(*) FROM (SELECT FROM command_outbox ORDER BY created_at LIMIT {COUNTED_MAX}) AS counted),
    'rows', (
        SELECT coalesce(json_agg(waiting ORDER BY "ageSeconds" DESC), '[]'::json) FROM (
            SELECT id, step, method, saga_id AS "orderId", direction, attempt, attempts AS "tries",
                   extract(epoch FROM clock_timestamp() - created_at) AS "ageSeconds",
                   extract(epoch FROM next_attempt_at - clock_timestamp()) AS "nextTrySeconds",
                   split_part(traceparent, '-', 2) AS "traceId"
            FROM command_outbox ORDER BY created_at LIMIT {ROWS_MAX}
        ) AS waiting
    )
)
"""  # noqa: S608 - the numbers are ours
_HAS_COMMANDS = "SELECT to_json(to_regclass('command_outbox') IS NOT NULL)"


async def waiting(system: Running, service: str) -> Json:
    """The events and the commands that one service has promised and nobody has taken; the oldest first."""
    events, sends = await asyncio.gather(asked(system, service, _EVENTS), asked(system, service, _HAS_COMMANDS))
    commands = await asked(system, service, _COMMANDS) if sends else {"count": 0, "rows": []}
    return {"service": service, "events": events, "commands": commands}


async def asked(system: Running, service: str, statement: str) -> Any:
    """The JSON that a statement gives, asked of a service's database in the role that may only read."""
    options = ("--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--command", statement)
    return json.loads(await system.run(system.psql(service, *options)))


async def explain(system: Running, found: list[Json]) -> None:
    """Say of all that waits why: `why` of a service's events, and of each command."""
    kafka = await _kafka(system) if any(each["events"]["count"] for each in found) else ""
    asked = {SERVICE_OF[row["method"].split("/")[1]] for each in found for row in each["commands"]["rows"]}
    senders = {each["service"] for each in found if each["events"]["count"] or each["commands"]["count"]}
    names = sorted(asked | senders)
    away = dict(zip(names, await asyncio.gather(*(_away(system, name) for name in names)), strict=True))
    for each in found:
        own = away.get(each["service"], "")
        each["events"]["why"] = _why_events(each["events"], own, kafka) if each["events"]["count"] else ""
        for row in each["commands"]["rows"]:
            row["why"] = _why_command(row, own, away[SERVICE_OF[row["method"].split("/")[1]]])


SERVICE_OF = {service.rpc: service.name for service in SERVICES}


def _why_events(events: Json, own: str, kafka: str) -> str:
    oldest = events["rows"][0]["ageSeconds"] if events["rows"] else 0.0
    if own:
        return f"{own}; its relay runs in it"
    if kafka:
        return f"{kafka}; they go out by themselves when it does"
    if events["leaseSeconds"] > 0:
        return "a relay is sending them now"
    if oldest < SOON_SECONDS:
        return "they were promised just now"
    return "no relay has taken them, though the service runs and Kafka answers: read the service's log"


def _why_command(row: Json, own: str, receiver: str) -> str:
    if own:
        return f"{own}; its dispatcher runs in it"
    if receiver:
        return receiver
    if row["tries"] == 0 and row["ageSeconds"] < SOON_SECONDS:
        return "it was promised just now"
    if row["tries"] == 0:
        return "no dispatcher has taken it: read the log of the service that sends it"
    return "it is being called now, or its last call was not answered: read the log of the service that sends it"


async def _kafka(system: Running) -> str:
    """What is wrong with the broker; empty if it answers."""
    from chassis.onlooker import Onlooker
    from cli.failures import NoSystem
    from cli.records import asking

    try:
        async with asking(system.kafka), Onlooker(system.kafka):
            return ""
    except NoSystem:
        return "Kafka does not answer"


async def _away(system: Running, service: str) -> str:
    """What is wrong with a service; empty if one of its processes serves."""
    import grpc

    from cli.rpc import OPTIONS

    for replica in await system.replicas(service):
        async with grpc.aio.insecure_channel(replica.address, options=OPTIONS) as channel:
            if await _serves(channel):
                return ""
    return f"{service} does not answer"


async def _serves(channel: Any) -> bool:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub: Any = health_pb2_grpc.HealthStub(channel)
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
    except grpc.aio.AioRpcError:
        return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING
