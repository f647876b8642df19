"""The traces of one order: its own, and those of what was asked for later; drawn once, or while they grow."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.text import Text

from catalogue import LATER
from cli.failures import Unknown
from cli.session import Session
from cli.traces import is_whole
from infra.local.drawing import BROKERS, WIDE, print_tree, tree_rows
from infra.local.spans import Span
from infra.local.trace_tree import trace_lines
from infra.owed import owed

Json = dict[str, Any]

POLL_SECONDS = 0.3
# A trace is complete when nothing came for this long: a good deal more than the processes hold a finished span back.
QUIET_SECONDS = 1.5
# How many other traces are looked into for what the targets of links are called.
LINKED_TRACES_MAX = 20


@dataclass(frozen=True, slots=True)
class Told:
    """One of the order's traces, as far as it is told."""

    title: str
    trace_id: str
    spans: list[Span]

    @property
    def is_whole(self) -> bool:
        """Whether no span lacks its parent, and each event that was promised was sent."""
        names = {(span.parent_id, span.name) for span in self.spans}
        created = [span for span in self.spans if span.name.startswith("create ")]
        return is_whole(self.spans, ()) and all(
            (span.id, span.name.replace("create ", "send ", 1)) in names for span in created
        )


async def draw(session: Session, order_id: str, show: Collection[str]) -> None:
    """Draw what is there now.

    Raises:
        Unknown: no such order, or its trace is not in the store.
    """
    order = await (await session.rpc()).ask("order/GetOrder", {"orderId": order_id})
    traces = await _told(session, order)
    if not traces[0].spans:
        raise Unknown(
            f"Trace {order['traceId']} of order {order_id} is not in the trace store: a trace comes up to two seconds"
            f" after what it tells of, and the oldest are forgotten."
        )
    await _show(session, traces, show)
    if not (await _has_ended(session, order) and all(told.is_whole for told in traces)):
        session.out.remark("Not all of it has come yet; --follow waits for it.", "yellow")


async def follow_and_draw(session: Session, order_id: str, show: Collection[str]) -> None:
    """Draw it whenever it has grown, until the order has ended and all is told."""
    out, shown = session.out, set[str]()
    traces: list[Told] = []
    is_live = out.console.is_terminal and not out.as_json
    live = Live(console=out.console, auto_refresh=False, transient=True, vertical_overflow="crop")
    if is_live:
        live.start()
    try:
        async for traces in _growing(session, order_id):
            if is_live:
                live.update(await _newest(session, traces), refresh=True)
            elif out.as_json:
                for told in traces:
                    for span in told.spans:
                        if span.id not in shown:
                            shown.add(span.id)
                            out.line(as_json(span), lambda _: None)
    finally:
        live.stop()
    if not out.as_json:
        await _show(session, traces, show)


async def _growing(session: Session, order_id: str) -> AsyncIterator[list[Told]]:
    """The traces, again and again; the last time they are complete."""
    rpc = await session.rpc()
    # What was there when it last changed: how many spans, and whether the order had ended.
    seen, changed_at = (0, False), time.monotonic()
    while True:
        order = await rpc.ask("order/GetOrder", {"orderId": order_id})
        has_ended = await _has_ended(session, order)
        traces = await _told(session, order)
        now, spans = time.monotonic(), sum(len(told.spans) for told in traces)
        if (spans, has_ended) != seen:
            seen, changed_at = (spans, has_ended), now
            yield traces
        if has_ended and spans and now - changed_at > QUIET_SECONDS and all(told.is_whole for told in traces):
            return
        await asyncio.sleep(POLL_SECONDS)


async def _has_ended(session: Session, order: Json) -> bool:
    """Whether nothing more comes by itself."""
    if order["status"] != "CANCELLED":
        return order["status"] != "PENDING"
    timeline = await (await session.rpc()).ask("order/GetOrderTimeline", {"orderId": order["orderId"]})
    return not owed(timeline["entries"])


async def _told(session: Session, order: Json) -> list[Told]:
    """The order's own trace first, the others in the order of LATER."""
    traces, since = await session.traces(), datetime.fromisoformat(order["createTime"])
    found = await asyncio.gather(*(traces.search(service, span, order["orderId"], since) for service, span, _ in LATER))
    titles = {order["traceId"]: f"order {order['orderId']}"}
    for (_, _, title), trace_ids in zip(LATER, found, strict=True):
        for trace_id in trace_ids:
            titles.setdefault(trace_id, title)
    spans = await asyncio.gather(*map(traces.spans, titles))
    return [Told(title, trace_id, each) for (trace_id, title), each in zip(titles.items(), spans, strict=True)]


async def _show(session: Session, traces: list[Told], show: Collection[str]) -> None:
    out, system = session.out, await session.system()
    targets = await _targets(session, traces) if "links" in show else {}
    data = [
        {
            "title": told.title,
            "traceId": told.trace_id,
            "page": system.page(told.trace_id),
            "isWhole": told.is_whole,
            "spans": [as_json(span) for span in told.spans],
        }
        for told in traces
    ]

    def render(_: object) -> None:
        for told in traces:
            out.say(f"Trace of {told.title}", "bold")
            out.say(system.page(told.trace_id))
            first = told is traces[0]
            print_tree(
                out.console, told.spans, system.kind, show=show, targets=targets, page=system.page, explained=first
            )

    out.show(data, render)


async def _newest(session: Session, traces: list[Told]) -> Group:
    """As much of the drawing as the terminal has room for, its end: what is new is mostly there."""
    console, kind = session.out.console, (await session.system()).kind
    rows: list[Text] = []
    for told in traces:
        lines = trace_lines(told.spans, broker=BROKERS[kind])
        rows += [Text(f"Trace of {told.title}", "bold"), *tree_rows(lines, is_wide=console.width >= WIDE)]
    for row in rows:
        row.truncate(console.width, overflow="ellipsis")
    room = max(1, console.height - 2)
    spans = sum(len(told.spans) for told in traces)
    return Group(*rows[-room:], Text(f"{spans} spans so far", "dim"))


async def _targets(session: Session, traces: list[Told]) -> dict[tuple[str, str], str]:
    """What the spans that these link to are called, in each other's traces and in others."""
    spans = [span for told in traces for span in told.spans]
    here = {told.trace_id for told in traces}
    others = dict.fromkeys(link.trace_id for span in spans for link in span.links if link.trace_id not in here)
    client = await session.traces()
    for found in await asyncio.gather(*(client.spans(trace_id) for trace_id in list(others)[:LINKED_TRACES_MAX])):
        spans += found
    return _named(spans)


def _named(spans: Iterable[Span]) -> dict[tuple[str, str], str]:
    return {(span.trace_id, span.id): f"{span.name} ({span.service})" for span in spans}


def as_json(span: Span) -> Json:
    """A span for a program; times are nanoseconds since the epoch."""
    return {
        "traceId": span.trace_id,
        "spanId": span.id,
        "parentSpanId": span.parent_id,
        "service": span.service,
        "name": span.name,
        "startTimeUnixNano": span.start,
        "endTimeUnixNano": span.end,
        "error": span.error,
        "attributes": span.attributes,
        "links": [{"traceId": link.trace_id, "spanId": link.span_id} for link in span.links],
        "events": [
            {"name": event.name, "timeUnixNano": event.at, "attributes": event.attributes} for event in span.events
        ],
    }
