"""`shop events`: what is on Kafka, decoded, read beside everybody; and told once more, where Kafka has lost it."""

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.text import Text

from catalogue import DEAD, SERVICES, TOPICS
from cli.failures import Unknown
from cli.session import Session, runs
from cli.values import MOMENT, ORDER_ID, counted, moment

if TYPE_CHECKING:
    from datetime import datetime

    from chassis.onlooker import Onlooker
    from cli.records import Decoded
    from cli.republishing import Progress

# Below it the columns of a line would not fit: an order's id, a trace's id, and what is between.
WIDE = 124
REMARK_SECONDS = 1.0


@click.group(short_help="Read the events on Kafka, decoded; tell lost ones again.")
def command() -> None:
    """Events on Kafka."""


def _topics(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    return [name for topic in TOPICS for name in (topic, topic + DEAD) if name.startswith(begun)]


@command.command()
@click.argument("topic", required=False, shell_complete=_topics)
@click.option("--from-beginning", is_flag=True, help="Begin with the oldest that is there, not with the next to come.")
@click.option("--order", "order_id", type=ORDER_ID, help="Only those about this order.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many.")
@click.option("--no-follow", is_flag=True, help="Show what is there, from the beginning, and end.")
@click.option("--payload", is_flag=True, help="Show each payload too, as JSON.")
@runs
async def tail(
    session: Session,
    topic: str | None,
    from_beginning: bool,
    order_id: str | None,
    count: int | None,
    no_follow: bool,
    payload: bool,
) -> None:
    """Show events as they come: time, type, order, its version, trace.

    Of TOPIC, such as order.events or inventory.events.dead, or of all three topics. It reads in no consumer group, so
    it takes nothing away from the services. What no service could handle is shown as such.
    """
    await session.out.while_read(
        _tail(session, topic, order_id or "", count or 0, payload, from_beginning=from_beginning, follows=not no_follow)
    )


async def _tail(
    session: Session,
    topic: str | None,
    order_id: str,
    count: int,
    payload: bool,
    *,
    from_beginning: bool,
    follows: bool,
) -> None:
    from chassis.onlooker import Onlooker
    from cli.records import asking, decode

    kafka, shown = (await session.system()).kafka, 0
    async with asking(kafka), Onlooker(kafka) as onlooker:
        topics = [topic] if topic else list(TOPICS)
        await _check(onlooker, topics)
        if follows:
            records = await onlooker.tail(topics, from_beginning=from_beginning)
        else:
            records = onlooker.past(topics)
        if follows and not from_beginning:
            session.out.remark(f"Waiting for what comes on {', '.join(topics)}; Ctrl-C ends it.", "dim")
        async with aclosing(records):
            async for record in records:
                decoded = decode(record)
                if order_id and order_id not in (decoded.order_id, (record.key or b"").decode(errors="replace")):
                    continue
                session.out.line(
                    decoded.as_json(), lambda console, decoded=decoded: _show(console, decoded, payload=payload)
                )
                shown += 1
                if shown == count:
                    return


async def _check(onlooker: "Onlooker", topics: list[str]) -> None:
    """A mock broker makes whatever topic it is asked for.

    Raises:
        Unknown: there is no such topic.
    """
    ours = {name for topic in TOPICS for name in (topic, topic + DEAD)}
    for topic in topics:
        if topic not in ours and topic not in await onlooker.topics():
            raise Unknown(f"There is no topic {topic}; there are {', '.join(TOPICS)}, and of each its {DEAD}.")


def _show(console: Console, decoded: "Decoded", *, payload: bool) -> None:
    record = decoded.record
    head = Text.assemble(
        (moment(decoded.time), "dim"),
        "  ",
        (f"{decoded.name:<18}", "bold red" if decoded.poison else "bold"),
    )
    sequence = "" if decoded.sequence is None else f"#{decoded.sequence}"
    order = f"order {decoded.order_id or '?'}"
    trace = f"trace {decoded.trace_id or '?'}"
    if console.width >= WIDE:
        console.print(Text.assemble(head, f"  {order:<42}  {sequence:<3}  {trace}"), soft_wrap=True)
    else:
        console.print(Text.assemble(head, f"  {sequence}"), soft_wrap=True)
        console.print(f"  {order}\n  {trace}", highlight=False, soft_wrap=True)
    place = f"{record.topic}/{record.partition}/{record.offset}"
    if decoded.poison:
        console.print(
            f"  poison at {place}: {decoded.poison}", style="red", highlight=False, markup=False, soft_wrap=True
        )
    if record.topic.endswith(DEAD):
        console.print(f"  dead: ./shop dead-letters show {place}", style="red", highlight=False, soft_wrap=True)
    if payload and decoded.payload is not None:
        console.print(f"  {json.dumps(decoded.payload)}", style="dim", highlight=False, markup=False, soft_wrap=True)


@command.command(short_help="Tell a service's events of a time span again, under their ids.")
@click.argument("service", type=click.Choice([service.name for service in SERVICES]))
@click.option(
    "--since", type=MOMENT, required=True, help="What Kafka had from then on: 15m (ago), or 2026-11-28T09:30."
)
@click.option("--until", type=MOMENT, help="And before then.  [default: now]")
@runs
async def republish(session: Session, service: str, since: "datetime", until: "datetime | None") -> None:
    """Send the events of SERVICE again that Kafka had between two moments: where it lost its newest ones, say.

    They come from the rows of the service's outbox, which are kept for RETENTION_SECONDS: what is older cannot be told
    again. Ids and versions stay, so whoever has applied an event passes over it. It waits for the groups that hear them
    after each batch, so that no event of today waits for more than a second.

    It may be interrupted: the last line says how to go on. To repeat it does no harm.
    """
    from datetime import UTC, datetime

    from cli.records import asking
    from cli.republishing import republish

    system, out = await session.system(), session.out
    ends, at, told = until or datetime.now(UTC), since, float("-inf")

    def say(progress: "Progress") -> None:
        nonlocal at, told
        at = progress.until_now
        if not progress.sent and (progress.oldest is None or since < progress.oldest):
            kept = f"of {moment(progress.oldest)}" if progress.oldest else "nowhere"
            out.remark(f"The oldest event that the outbox still has is {kept}: what is older cannot be told again.")
        if asyncio.get_running_loop().time() - told >= REMARK_SECONDS:
            told = asyncio.get_running_loop().time()
            slowly = "" if progress.is_taken else "; slowly, for not all groups take them"
            out.remark(f"{progress.sent} of {progress.count} sent, up to {at.isoformat()}{slowly}", "dim")

    try:
        async with asking(system.kafka):
            done = await republish(system, service, since, ends, say)
    except BaseException:
        again = f"./shop events republish {service} --since {at.isoformat()} --until {ends.isoformat()}"
        out.remark(f"Not all were sent. Go on with: {again}")
        raise
    data = {"service": service, "since": since.isoformat(), "until": ends.isoformat(), "sent": done.sent}
    verb = "was" if done.sent == 1 else "were"
    out.show(data, lambda _: out.say(f"{counted(done.sent, 'event')} of {service} {verb} sent again."))
