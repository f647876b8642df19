"""`shop outbox`: what was promised to the world and not taken yet, how long ago, and why."""

import asyncio
from typing import Any

import click

from catalogue import SERVICES
from cli.session import Session, runs
from cli.values import counted, duration

Json = dict[str, Any]


@click.command(short_help="What waits to be sent, how long, and why.")
@click.argument("service", required=False, type=click.Choice([service.name for service in SERVICES]))
@runs
async def command(session: Session, service: str | None) -> None:
    """What waits in the outboxes of SERVICE, or of all: events that Kafka does not have, commands not accepted.

    Each is a row that was written in the transaction that promised it. It is delivered until it is taken.
    """
    from cli.outboxes import explain, waiting

    system, out = await session.system(), session.out
    names = [service] if service else [each.name for each in SERVICES]
    found = list(await asyncio.gather(*(waiting(system, name) for name in names)))
    await explain(system, found)
    out.show(found, lambda _: _show(session, found))


def _show(session: Session, found: list[Json]) -> None:
    from cli.listing import listing
    from cli.outboxes import COUNTED_MAX

    out = session.out
    if not any(each[kind]["count"] for each in found for kind in ("events", "commands")):
        out.say("Nothing waits: Kafka has every event, and every command was accepted.", "green")
        return
    for each in found:
        for kind in ("events", "commands"):
            if not each[kind]["count"]:
                continue
            at_least = "at least " if each[kind]["count"] == COUNTED_MAX else ""
            out.say(f"{each['service']}: {at_least}{counted(each[kind]['count'], kind[:-1])} waiting", "bold")
            if kind == "events":
                out.say(f"  {each['events']['why']}.", "yellow")
                headers = ("order", "event", "version", "waits for")
                rows = [
                    (row["orderId"], row["type"].rpartition(".")[2], f"#{row['sequence']}", duration(row["ageSeconds"]))
                    for row in each["events"]["rows"]
                ]
            else:
                headers = ("order", "command", "waits for", "tries", "next try in", "because")
                rows = [_command(row) for row in each["commands"]["rows"]]
            listing(out.console, headers, rows, numbers=("tries",))
            if (more := each[kind]["count"] - len(rows)) > 0:
                out.say(f"  and {at_least}{more} more")


def _command(row: Json) -> tuple[str, ...]:
    back = " (compensation)" if row["direction"] == "compensate" else ""
    soon = duration(row["nextTrySeconds"]) if row["nextTrySeconds"] > 0 else "due"
    return (row["orderId"], row["step"] + back, duration(row["ageSeconds"]), str(row["tries"]), soon, row["why"])
