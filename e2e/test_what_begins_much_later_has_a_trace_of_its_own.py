"""A story that goes on much later: who begins it decides in which trace it is told."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest_asyncio

from e2e.conftest import Json, Shop, eventually, shop_with
from e2e.kinds import BY_NAME, CANCEL
from e2e.tree import Tree

STORY_SECONDS = 1
CONFIRMED, DEADLINE = BY_NAME["confirmed"], BY_NAME["deadline of a step"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hurried() -> AsyncIterator[Shop]:
    """A shop whose stories are over after a second."""
    async with shop_with(order={"STORY_SECONDS": str(STORY_SECONDS), "RESERVE_DEADLINE_SECONDS": "4"}) as shop:
        yield shop


async def later(began_at: float) -> None:
    """Until the order's story is over."""
    over_at = began_at + STORY_SECONDS + 0.2
    await eventually(lambda: asyncio.sleep(0, time.monotonic() > over_at), "the story is over")


async def late_trace(shop: Shop, order_id: str, last: set[str]) -> Tree:
    """The trace of the cancel that was asked for later, once these spans are in it."""

    async def look() -> str | None:
        return next(iter(await shop.traces_of(order_id, CANCEL)), None)

    trace_id = await eventually(look, "the trace of the cancel")
    return Tree(trace_id, await shop.trace(trace_id, until=lambda spans: last <= {span.name for span in spans}))


async def trace_ids_of_the_timeline(shop: Shop, order_id: str) -> list[str]:
    timeline: Json = await shop.get(f"/v1/orders/{order_id}/timeline")
    return [entry["traceId"] for entry in timeline["entries"]]


async def test_a_late_cancel_of_a_confirmed_order_is_a_story_of_its_own(hurried: Shop) -> None:
    """What payment and inventory give back is told there too; the first trace does not grow, and is linked."""
    began_at = time.monotonic()
    played = await CONFIRMED.play(hurried)
    first = Tree(played.trace_id, await hurried.trace(played.trace_id, until=CONFIRMED.is_told))
    await later(began_at)
    await hurried.cancel(played.order_id)
    heard = {"saga heard PaymentRefunded", "saga heard StockReturned"}
    late = await late_trace(hurried, played.order_id, heard)
    assert len(late.roots) == 1
    assert late.orphans == []
    assert {"cancel confirmed order", "void charge", *heard} <= {span.name for span in late.spans}
    links = {link for span in late.spans for link in span.links}
    assert (first.trace_id, first.order.span_id) in links
    assert len(await hurried.spans(first.trace_id)) == len(first.spans)
    assert await trace_ids_of_the_timeline(hurried, played.order_id) == [first.trace_id] * 4 + [late.trace_id] * 3


async def test_a_late_cancel_of_a_pending_order_is_told_in_its_own_trace_to_the_end(hurried: Shop) -> None:
    """The saga undoes what it began in the trace of the request that wanted it."""
    began_at = time.monotonic()
    await hurried.system.pause("payment")
    try:
        placed = await hurried.place()
        await hurried.heard(placed["orderId"], "StockReserved")
        await later(began_at)
        await hurried.cancel(placed["orderId"])
    finally:
        await hurried.system.resume("payment")
    assert (await hurried.ended(placed["orderId"]))["status"] == "CANCELLED"
    late = await late_trace(hurried, placed["orderId"], {"send order.events OrderCancelled"})
    assert late.orphans == []
    told = {span.name for span in late.saga}
    assert {"saga cancel", "saga refund_payment", "saga release_stock", "saga heard StockReleased"} <= told
    first = Tree(placed["traceId"], await hurried.spans(placed["traceId"]))
    assert {"saga cancel", "saga refund_payment", "saga release_stock"} & {span.name for span in first.saga} == set()
    links = {link for span in late.spans for link in span.links}
    assert (first.trace_id, first.order.span_id) in links


async def test_a_timer_stays_in_the_order_s_trace(hurried: Shop) -> None:
    """A deadline that passes later than that is nobody's new wish."""
    played = await DEADLINE.play(hurried)
    tree = Tree(played.trace_id, await hurried.trace(played.trace_id, until=DEADLINE.is_told))
    [deadline] = tree.named("saga deadline")
    assert deadline.start_ns - tree.order.start_ns > STORY_SECONDS * 1e9
    assert {tree.parent(span) for span in tree.saga} == {tree.order}
    # What the timeline tells of it, the deadline and the end included, happened in one trace.
    assert set(await trace_ids_of_the_timeline(hurried, played.order_id)) == {played.trace_id}
