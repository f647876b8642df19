"""`shop events tail`: what is on Kafka, decoded, read beside everybody."""

import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.text import Text

from catalogue import DEAD, TOPICS
from cli.failures import Unknown
from cli.session import Session, runs
from cli.values import ORDER_ID, moment

if TYPE_CHECKING:
    from chassis.onlooker import Onlooker
    from cli.records import Decoded

# Below it the columns of a line would not fit: an order's id, a trace's id, and what is between.
WIDE = 124


@click.group(short_help="Read the events on Kafka, decoded.")
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
