"""TRACE_ASYNC=link: a message's trace is its own, and the story stays in the order's."""

from collections.abc import AsyncIterator

import pytest_asyncio

from e2e.conftest import Shop, shop_with
from e2e.kinds import BY_NAME
from e2e.tree import CONSUMER, Tree

SQL = ("SELECT ", "INSERT ", "UPDATE ", "DELETE ")
LINK = {"TRACE_ASYNC": "link"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def linking() -> AsyncIterator[Shop]:
    async with shop_with(gateway=LINK, order=LINK, payment=LINK, inventory=LINK) as shop:
        yield shop


async def order_trace(shop: Shop, kind_name: str) -> tuple[str, Tree]:
    """The order's id and its own trace, once the order's events have been heard."""
    kind = BY_NAME[kind_name]
    played = await kind.play(shop)
    last = "send order.events OrderConfirmed" if kind.status == "CONFIRMED" else "send order.events OrderRejected"
    return played.order_id, Tree(played.trace_id, await shop.trace(played.trace_id, until=last))


async def test_only_the_process_span_and_its_statements_leave_the_order_s_trace(linking: Shop) -> None:
    """The order's trace tells what the saga heard and did, below the order's span, and links to how it heard it."""
    for kind_name, heard in (
        ("confirmed", ["StockReserved", "PaymentCharged"]),
        ("declined card", ["StockReserved", "PaymentDeclined", "StockReleased"]),
    ):
        order_id, tree = await order_trace(linking, kind_name)
        assert tree.orphans == []
        assert tree.beginning("process ") == []
        reactions = tree.beginning("saga heard ")
        assert [span.name for span in reactions] == [f"saga heard {event}" for event in heard]
        assert {tree.parent(span) for span in tree.saga} == {tree.order}
        for span in reactions:
            [trace_id] = {trace_id for trace_id, _ in span.links if trace_id != tree.trace_id}
            heard_in = Tree(trace_id, await linking.trace(trace_id, until=lambda spans: True))
            [root] = heard_in.roots
            assert root.name.endswith(span.name.removeprefix("saga heard"))
            assert (trace_id, root.span_id) in span.links
            is_only_about_a_message(heard_in, tree, order_id)


async def test_who_else_hears_an_event_links_to_it(linking: Shop) -> None:
    """Inventory ships in the trace of the message, which leads back to the order's."""
    order_id, tree = await order_trace(linking, "confirmed")
    name = "process order.events OrderConfirmed"
    [trace_id] = await linking.traces_of(order_id, name, service="inventory")
    shipping = Tree(trace_id, await linking.trace(trace_id, until=name))
    is_only_about_a_message(shipping, tree, order_id)
    [created] = tree.named("create order.events OrderConfirmed")
    assert (tree.trace_id, created.span_id) in shipping.roots[0].links


async def test_what_others_do_about_it_stays_in_the_order_s_trace(linking: Shop) -> None:
    """Payment and inventory hear of a cancel in traces of their own; what they give back is told in the order's."""
    kind = BY_NAME["cancelled when confirmed"]
    played = await kind.play(linking)
    tree = Tree(played.trace_id, await linking.trace(played.trace_id, until=kind.is_told))
    assert tree.orphans == []
    assert tree.beginning("process ") == []
    assert {"void charge", "create inventory.events StockReturned", "create payment.events PaymentRefunded"} <= {
        span.name for span in tree.spans
    }
    for service in ("payment", "inventory"):
        name = "process order.events OrderCancelled"
        [trace_id] = await linking.traces_of(played.order_id, name, service)
        hearing = Tree(trace_id, await linking.trace(trace_id, until=name))
        is_only_about_a_message(hearing, tree, played.order_id)


def is_only_about_a_message(heard_in: Tree, order: Tree, order_id: str) -> None:
    """A process span with its statements, which links to the event's creation in the order's trace."""
    [root] = heard_in.roots
    assert root.kind == CONSUMER
    assert heard_in.orphans == []
    assert [span.name for span in heard_in.spans if span is not root and not span.name.startswith(SQL)] == []
    assert {span.attributes["shop.order.id"] for span in heard_in.spans} == {order_id}
    linked = [order.by_id[span_id].name for trace_id, span_id in root.links if trace_id == order.trace_id]
    assert root.name.replace("process ", "create ") in linked
