"""The traces of a confirmed, a declined and a cancelled order, span by span, as the trace store gives them back."""

import re
from pathlib import Path

import httpx
import pytest

from e2e.conftest import Shop, Span

KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
PRODUCER, ERROR = 4, 2

# Each line: service, kind, name; a line is the child of the nearest line above with a smaller indent. Left out are the
# spans of SQL statements and of HTTP calls: leaves, or a step between two lines.
UNTIL_CHARGED = """
gateway SERVER POST /v1/orders
  gateway CLIENT shop.order.v1.OrderService/PlaceOrder
    order SERVER shop.order.v1.OrderService/PlaceOrder
      order PRODUCER create order.events OrderPlaced
        order CLIENT send order.events OrderPlaced
      order CLIENT saga reserve_stock
        inventory SERVER shop.inventory.v1.InventoryService/ReserveStock
          inventory PRODUCER create inventory.events StockReserved
            inventory CLIENT send inventory.events StockReserved
            order CONSUMER process inventory.events StockReserved
      order INTERNAL saga heard StockReserved
      order CLIENT saga charge_payment
        payment SERVER shop.payment.v1.PaymentService/ChargePayment
          payment INTERNAL charge card
            card-network SERVER POST /charges
            payment PRODUCER create payment.events {outcome}
              payment CLIENT send payment.events {outcome}
              order CONSUMER process payment.events {outcome}
      order INTERNAL saga heard {outcome}
"""
CONFIRMED = """
        order PRODUCER create order.events OrderConfirmed
          order CLIENT send order.events OrderConfirmed
          inventory CONSUMER process order.events OrderConfirmed
"""
DECLINED = """
      order CLIENT saga release_stock
        inventory SERVER shop.inventory.v1.InventoryService/ReleaseStock
          inventory PRODUCER create inventory.events StockReleased
            inventory CLIENT send inventory.events StockReleased
            order CONSUMER process inventory.events StockReleased
      order INTERNAL saga heard StockReleased
        order PRODUCER create order.events OrderRejected
          order CLIENT send order.events OrderRejected
"""
CANCELLED = """
      order INTERNAL cancel confirmed order
        order PRODUCER create order.events OrderCancelled
          order CLIENT send order.events OrderCancelled
          inventory CONSUMER process order.events OrderCancelled
            inventory PRODUCER create inventory.events StockReturned
              inventory CLIENT send inventory.events StockReturned
              order CONSUMER process inventory.events StockReturned
          payment CONSUMER process order.events OrderCancelled
            payment INTERNAL void charge
              card-network SERVER POST /charges/{{key}}/void
              payment PRODUCER create payment.events PaymentRefunded
                payment CLIENT send payment.events PaymentRefunded
                order CONSUMER process payment.events PaymentRefunded
      order INTERNAL saga heard StockReturned
      order INTERNAL saga heard PaymentRefunded
"""
# With the most spans that each may have.
STORIES = {
    "confirmed": ((UNTIL_CHARGED + CONFIRMED).format(outcome="PaymentCharged"), 42),
    "declined": ((UNTIL_CHARGED + DECLINED).format(outcome="PaymentDeclined"), 55),
    "cancelled": ((UNTIL_CHARGED + CONFIRMED + CANCELLED).format(outcome="PaymentCharged"), 72),
}

Way = tuple[str, ...]
TAIL_SAMPLING = Path(__file__).parents[1] / "infra/jaeger/tail-sampling.yaml"


def drawn(tree: str) -> list[Way]:
    """The lines of a drawing, each with the lines that it is below."""
    above: list[tuple[int, str]] = []
    paths: list[Way] = []
    for line in filter(str.strip, tree.splitlines()):
        depth = len(line) - len(line.lstrip())
        above = [*((level, text) for level, text in above if level < depth), (depth, line.strip())]
        paths.append(tuple(text for _, text in above))
    return sorted(paths)


def paths(spans: list[Span]) -> list[Way]:
    """The spans that a drawing shows, each with those that it is below."""
    by_id = {span.span_id: span for span in spans}

    def path(span: Span | None) -> Way:
        if span is None:
            return ()
        above = path(by_id.get(span.parent_id))
        return (*above, f"{span.service} {KINDS[span.kind]} {span.name}") if is_drawn(span) else above

    return sorted(path(span) for span in spans if is_drawn(span))


def is_drawn(span: Span) -> bool:
    return KINDS[span.kind] != "CLIENT" or span.name.startswith(("send ", "saga ", "shop."))


@pytest.mark.parametrize("story", STORIES)
async def test_one_order_is_one_trace(shop: Shop, story: str) -> None:
    """One root, no missing parent, exactly the tree, nothing failed, the order's id on every span of ours."""
    tree, spans_max = STORIES[story]
    placed = await shop.place("tok_declined" if story == "declined" else "tok_visa")
    order = await shop.ended(placed["orderId"])
    if story == "cancelled":
        # Goods that have left come back; those that are still held would be released.
        await shop.at_rest()
        await shop.cancel(order["orderId"])
    expected = drawn(tree)
    spans = await shop.trace(order["traceId"], until=lambda spans: len(paths(spans)) >= len(expected))
    assert paths(spans) == expected
    assert len(spans) <= spans_max, sorted(span.name for span in spans)
    ids = {span.span_id for span in spans}
    assert [span.name for span in spans if not span.parent_id] == ["POST /v1/orders"]
    assert [span.name for span in spans if span.parent_id and span.parent_id not in ids] == []
    assert [span.name for span in spans if span.status == ERROR] == []
    ours = [span for span in spans if span.service != "card-network"]
    strangers = [span for span in ours if span.attributes.get("shop.order.id") != order["orderId"]]
    assert [(span.service, span.name) for span in strangers] == []


async def test_sending_and_processing_link_to_what_they_continue(shop: Shop) -> None:
    """`send` and `process` are children of `create` and link to it, and each `send` to its round's own small trace."""
    placed = await shop.place()
    order = await shop.ended(placed["orderId"])
    spans = await shop.trace(order["traceId"], until="process order.events OrderConfirmed")
    by_id = {span.span_id: span for span in spans}
    continued = [span for span in spans if span.name.startswith(("send ", "process "))]
    assert len(continued) >= 7
    for span in continued:
        created = by_id[span.parent_id]
        assert created.kind == PRODUCER
        assert (order["traceId"], created.span_id) in span.links
        if span.name.startswith("send "):
            assert any(trace_id != order["traceId"] for trace_id, _ in span.links)
        assert span.start_ns >= created.end_ns


async def test_the_caller_is_linked_not_obeyed(shop: Shop) -> None:
    """An inbound traceparent does not become the parent: the order begins its own trace and links to the caller's."""
    caller = "0af7651916cd43dd8448eb211c80319c"
    body = {"customerId": "ada", "cardToken": "tok_visa", "lines": [{"sku": "espresso-beans", "quantity": 1}]}
    response = await shop.client.post(
        "/v1/orders", json=body, headers={"traceparent": f"00-{caller}-b7ad6b7169203331-01"}
    )
    order = response.json()
    assert order["traceId"] != caller
    spans = await shop.trace(order["traceId"], until="process order.events OrderConfirmed")
    root = next(span for span in spans if not span.parent_id)
    assert (caller, "b7ad6b7169203331") in root.links


async def test_jaeger_finds_the_order_by_its_tag(shop: Shop) -> None:
    """A search for the order's id finds its trace."""
    placed = await shop.place()
    order = await shop.ended(placed["orderId"])
    await shop.trace(order["traceId"], until="process order.events OrderConfirmed")
    path, query = shop.system.search("order", {"shop.order.id": order["orderId"]})
    async with httpx.AsyncClient(base_url=shop.system.traces_url) as store:
        response = await store.get(path, params=query)
        assert response.status_code == 200, response.text
        assert order["traceId"] in response.text
        path, query = shop.system.search("order", {"shop.order.id": "of-nobody"})
        response = await store.get(path, params=query)
    assert order["traceId"] not in response.text


async def test_tail_sampling_keeps_orders_by_what_their_spans_carry(shop: Shop) -> None:
    """A policy on a name or a value that was changed would keep nothing, and nobody would notice."""
    policies = TAIL_SAMPLING.read_text()
    asked = set(re.findall(r"key: (\S+), values: \[(\w+)\]", policies))
    assert len(asked) == 2
    [name] = re.findall(r'name == "(.+)"', policies)

    declined = await shop.ended((await shop.place("tok_declined"))["orderId"])
    spans = await shop.trace(declined["traceId"], until="saga release_stock")
    assert [(key, value) for key, value in asked if not any(span.attributes.get(key) == value for span in spans)] == []

    confirmed = await shop.ended((await shop.place())["orderId"])
    await shop.cancel(confirmed["orderId"])
    await shop.trace(confirmed["traceId"], until=name)
