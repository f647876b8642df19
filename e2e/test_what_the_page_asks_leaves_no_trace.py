"""The explorer looks at an order from everywhere, and the newest traces are still what customers did."""

import json
from urllib.parse import quote

from e2e.conftest import Json, Shop, eventually
from infra.containers.system import System as Containers

ASKED = (
    "orders/ORDER_ID",
    "orders/ORDER_ID/timeline",
    "orders?customerId=ada",
    "payments/ORDER_ID",
    "reservations/ORDER_ID",
)
# The same questions by the public API, and what each leaves in the service that answers it.
CONTROLS = (
    ("orders/ORDER_ID", "order", "shop.order.v1.OrderService/GetOrder"),
    ("payments/ORDER_ID", "payment", "shop.payment.v1.PaymentService/GetPayment"),
    ("reservations/ORDER_ID", "inventory", "shop.inventory.v1.InventoryService/GetReservation"),
)


async def watched(shop: Shop, order_id: str) -> list[Json]:
    """The order's timeline, as the page follows it until the order has ended."""
    entries: list[Json] = []
    headers = {"accept": "text/event-stream"}
    async with shop.client.stream("GET", f"/explorer/v1/orders/{order_id}:watch", headers=headers) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                entries.append(json.loads(line.removeprefix("data: ")))
            if entries and entries[-1]["event"].endswith(".OrderConfirmed"):
                break
    return entries


async def test_what_the_page_asks_for_itself_leaves_no_trace(shop: Shop) -> None:
    """Neither the gateway nor a service records a span of it; of the same question to the API both do."""
    order = await shop.place()
    order_id, own = order["orderId"], order["traceId"]
    assert await watched(shop, order_id)
    for path in ASKED:
        await shop.get(f"/explorer/v1/{path.replace('ORDER_ID', order_id)}")
    await shop.trace(own, until="process order.events OrderConfirmed")
    controls: set[str] = set()
    for path, service, span in CONTROLS:
        await shop.get(f"/v1/{path.replace('ORDER_ID', order_id)}")

        # Whatever a process has recorded before, it has sent before.
        async def found(service: str = service, span: str = span) -> set[str]:
            return await shop.traces_of(order_id, span, service)

        controls |= await eventually(found, f"the span of {span}")
    assert len(controls) == len(CONTROLS)
    for service in ("gateway", "order", "payment", "inventory"):
        assert await shop.traces_of(order_id, "", service) <= {own, *controls}


async def test_the_page_is_told_of_an_order_what_the_trace_store_has(shop: Shop) -> None:
    """Its trace as the store tells it, and the trace of a POST that was repeated."""
    key = "the-page-is-told"
    order = await shop.place(key=key)
    await shop.trace(order["traceId"], until="process order.events OrderConfirmed")
    told = await shop.get(f"/explorer/traces/{order['traceId']}")
    assert told["result"]["resourceSpans"]

    assert (await shop.place(key=key))["orderId"] == order["orderId"]
    query = f"since={quote(order['createTime'])}&except={order['traceId']}"

    async def further() -> list[Json]:
        return (await shop.get(f"/explorer/orders/{order['orderId']}/traces?{query}"))["traces"]

    (found,) = await eventually(further, "the repeated POST is found")
    assert found["title"] == "the repeated POST"
    assert "INSERT orders" in {span.name for span in await shop.spans(found["traceId"])}


async def test_the_page_is_told_how_every_process_is(shop: Shop) -> None:
    """Each part in reach of the gateway answers, and says at least whether it is ready."""
    rows = (await shop.get("/explorer/replicas"))["replicas"]
    expected = ["gateway", "order", "payment", "inventory"]
    # In containers the outside party is out of the gateway's reach.
    expected += [] if isinstance(shop.system, Containers) else ["card-network"]
    assert [(row["service"], row["error"]) for row in rows] == [(name, None) for name in expected]
    assert all(row["figures"]["shop_process_ready"] == [{"labels": {}, "value": 1.0}] for row in rows)
    figures = {row["service"]: set(row["figures"]) for row in rows}
    assert figures["order"] >= {"shop_outbox_backlog", "shop_command_outbox_backlog", "shop_saga_parked"}
    assert figures["payment"] >= {"shop_payments_open_intents", "shop_payments_open_refunds", "shop_dead_letters_total"}
