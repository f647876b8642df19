"""Orders that come together share statements, which stand in the batch's own small trace: nothing is hidden by that."""

import asyncio

from e2e.conftest import Shop, Span, eventually
from e2e.kinds import BY_NAME
from e2e.tree import Tree

ORDERS = 12


async def test_what_a_batch_did_is_found_from_each_order(shop: Shop) -> None:
    """A message that is applied alone shows its inbox row; one of many says how many, which statements, and where."""

    async def batched() -> list[Tree] | None:
        placed = await asyncio.gather(*(shop.place(customer_id=f"crowd-{n}") for n in range(ORDERS)))
        await asyncio.gather(*(shop.ended(order["orderId"]) for order in placed))
        trees = await asyncio.gather(*(tree_of(shop, order["traceId"]) for order in placed))
        return list(trees) if any(is_batched(span) for tree in trees for span in processed(tree)) else None

    polls: dict[str, Tree] = {}
    for tree in await eventually(batched, "messages share a batch"):
        for span in processed(tree):
            if not is_batched(span):
                assert "INSERT inbox" in {child.name for child in tree.children(span)}, f"{span.name}\n{tree}"
                continue
            assert "INSERT inbox" in str(span.attributes["shop.batch.statements"])
            for trace_id in {trace_id for trace_id, _ in span.links} - {tree.trace_id}:
                if trace_id not in polls:
                    polls[trace_id] = Tree(trace_id, await shop.trace(trace_id, until=lambda spans: True))
            [(poll, noted)] = [
                (polls[trace_id], polls[trace_id].by_id[span_id])
                for trace_id, span_id in span.links
                if trace_id in polls and polls[trace_id].by_id[span_id].name == "INSERT inbox"
            ]
            assert poll.roots[0].name.startswith("poll ")
            assert (tree.trace_id, span.parent_id) in poll.roots[0].links
            assert noted.start_ns >= poll.roots[0].start_ns


async def tree_of(shop: Shop, trace_id: str) -> Tree:
    return Tree(trace_id, await shop.trace(trace_id, until=BY_NAME["confirmed"].is_told))


def processed(tree: Tree) -> list[Span]:
    return tree.beginning("process ")


def is_batched(span: Span) -> bool:
    return int(span.attributes.get("shop.batch.messages", 1)) > 1
