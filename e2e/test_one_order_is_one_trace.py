"""The trace of a confirmed order, span by span."""

import httpx

from e2e.conftest import Shop, Span

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
SPANS_MAX = 70

# Each line: service, kind, name; its depth is its place below the line above with a smaller indent.
SKELETON = """
gateway       SERVER    POST /v1/orders
  gateway       CLIENT    shop.order.v1.OrderService/PlaceOrder
    order         SERVER    shop.order.v1.OrderService/PlaceOrder
      order         INTERNAL  place_order
        order         CLIENT    INSERT orders
        order         PRODUCER  create order.events
          order         CLIENT    send order.events
        order         INTERNAL  saga reserve_stock
          order         CLIENT    shop.inventory.v1.InventoryService/ReserveStock
            inventory     SERVER    shop.inventory.v1.InventoryService/ReserveStock
              inventory     INTERNAL  reserve_stock
                inventory     PRODUCER  create inventory.events
                  inventory     CLIENT    send inventory.events
                  order         CONSUMER  process inventory.events
                    order         INTERNAL  saga charge_payment
                      order         CLIENT    shop.payment.v1.PaymentService/ChargePayment
                        payment       SERVER    shop.payment.v1.PaymentService/ChargePayment
                          payment       INTERNAL  charge_payment
"""
AFTER_THE_CHARGE = """
payment       PRODUCER  create payment.events
  payment       CLIENT    send payment.events
  order         CONSUMER  process payment.events
    order         PRODUCER  create order.events
      order         CLIENT    send order.events
      inventory     CONSUMER  process order.events
"""
KINDS = {"INTERNAL": INTERNAL, "SERVER": SERVER, "CLIENT": CLIENT, "PRODUCER": PRODUCER, "CONSUMER": CONSUMER}


def assert_shape(spans: list[Span], skeleton: str) -> None:
    """Every line of the skeleton is a span below the span of the line it is indented under."""
    path: list[tuple[int, Span]] = []
    for line in skeleton.strip().splitlines():
        depth = len(line) - len(line.lstrip())
        service, kind, name = line.split(maxsplit=2)
        path = [(level, span) for level, span in path if level < depth]
        found = [
            span
            for span in spans
            if (span.service, span.kind, span.name) == (service, KINDS[kind], name)
            and (not path or span.parent_id == path[-1][1].span_id)
        ]
        assert found, f"{line.strip()!r} is not below {path[-1][1].name if path else 'the top'!r}"
        path.append((depth, found[0]))


async def test_one_order_is_one_trace(shop: Shop) -> None:
    """One trace id, no missing parent, the shape from POST to shipping, at most seventy spans, nothing failed."""
    placed = await shop.place()
    order = await shop.ended(placed["orderId"])
    assert order["status"] == "CONFIRMED"
    spans = await shop.trace(order["traceId"], until="process order.events")
    assert len(spans) <= SPANS_MAX, sorted(span.name for span in spans)
    ids = {span.span_id for span in spans}
    assert [span.name for span in spans if not span.parent_id] == ["POST /v1/orders"]
    assert [span.name for span in spans if span.parent_id and span.parent_id not in ids] == []
    assert_shape(spans, SKELETON)
    assert_shape(spans, AFTER_THE_CHARGE)
    assert {span.service for span in spans} == {"gateway", "order", "inventory", "payment", "card-network"}
    assert [span.name for span in spans if span.status == 2] == []
    ours = [span for span in spans if span.service != "card-network" and span.name != "POST"]
    strangers = [span for span in ours if span.attributes.get("shop.order.id") != order["orderId"]]
    assert [(span.service, span.name) for span in strangers] == []


async def test_sending_and_processing_link_to_what_they_continue(shop: Shop) -> None:
    """`send` and `process` are children of `create` and link to it; both also link to their batch's own small trace."""
    placed = await shop.place()
    order = await shop.ended(placed["orderId"])
    spans = await shop.trace(order["traceId"], until="process order.events")
    by_id = {span.span_id: span for span in spans}
    continued = [span for span in spans if span.name.startswith(("send ", "process "))]
    assert len(continued) >= 7
    for span in continued:
        created = by_id[span.parent_id]
        assert created.kind == PRODUCER
        assert (order["traceId"], created.span_id) in span.links
        assert any(trace_id != order["traceId"] for trace_id, _ in span.links)
        assert span.start_ns >= created.end_ns


async def test_a_refusal_is_an_answer_not_an_error(shop: Shop) -> None:
    """A declined card leaves no failed span in the trace."""
    placed = await shop.place("tok_declined")
    order = await shop.ended(placed["orderId"])
    spans = await shop.trace(order["traceId"], until="saga release_stock")
    assert [span.name for span in spans if span.status == 2] == []
    assert_shape(
        spans, "order INTERNAL saga release_stock\n order CLIENT shop.inventory.v1.InventoryService/ReleaseStock"
    )


async def test_the_caller_is_linked_not_obeyed(shop: Shop) -> None:
    """An inbound traceparent does not become the parent: the order begins its own trace and links to the caller's."""
    caller = "0af7651916cd43dd8448eb211c80319c"
    body = {"customerId": "ada", "cardToken": "tok_visa", "lines": [{"sku": "espresso-beans", "quantity": 1}]}
    response = await shop.client.post(
        "/v1/orders", json=body, headers={"traceparent": f"00-{caller}-b7ad6b7169203331-01"}
    )
    order = response.json()
    assert order["traceId"] != caller
    spans = await shop.trace(order["traceId"], until="process order.events")
    root = next(span for span in spans if not span.parent_id)
    assert (caller, "b7ad6b7169203331") in root.links


async def test_jaeger_finds_the_order_by_its_tag(shop: Shop) -> None:
    """A search for the order's id finds its trace."""
    placed = await shop.place()
    order = await shop.ended(placed["orderId"])
    await shop.trace(order["traceId"], until="process order.events")
    path, query = shop.system.search("order", {"shop.order.id": order["orderId"]})
    async with httpx.AsyncClient(base_url=shop.system.traces_url) as store:
        response = await store.get(path, params=query)
        assert response.status_code == 200, response.text
        assert order["traceId"] in response.text
        path, query = shop.system.search("order", {"shop.order.id": "of-nobody"})
        response = await store.get(path, params=query)
    assert order["traceId"] not in response.text
