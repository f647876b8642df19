"""Several replicas of each service: who does what, and what becomes of it when one dies or leaves."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from e2e.conftest import Shop, Span, eventually, on_containers
from infra.bench.books import audit, shelf
from infra.bench.load import Load, Placed
from infra.containers.system import System as Containers

RATE_PER_SECOND = 10
ORDERS = 100
REPLICAS = {"order": 3, "payment": 2, "inventory": 2}
TAKEOVER_MS_MAX = 5_000
NOTICED_SECONDS_MAX = 15.0
# Well below what a call takes that runs into its deadline.
ANSWERED_SECONDS_MAX = 2.0
SERVER, CONSUMER = 2, 5
WORK = (
    ("order", "shop.order.v1.OrderService/PlaceOrder"),
    ("order", "process inventory.events StockReserved"),
    ("order", "process payment.events PaymentCharged"),
    ("inventory", "shop.inventory.v1.InventoryService/ReserveStock"),
    ("inventory", "process order.events OrderConfirmed"),
    ("payment", "shop.payment.v1.PaymentService/ChargePayment"),
)

pytestmark = on_containers


# It begins with one of each, so it stands before those that keep several.
async def test_replicas_come_and_go_under_load(containers: Containers) -> None:
    """Scaling up and down again costs no request and no order."""
    shelf_before = await shelf(containers)
    load = Load(containers, RATE_PER_SECOND, ORDERS * 2)
    async with load.listening():
        placing = asyncio.create_task(load.place())
        await containers.scale(**REPLICAS)
        await containers.scale(**dict.fromkeys(REPLICAS, 1))
        await placing
        await load.drain(60)
    assert load.refusals == []
    assert len(load.accepted) == ORDERS * 2
    assert [order for order in load.orders if order.outcome != order.expected] == []
    books = await audit(containers, load.accepted, shelf_before)
    assert books.balance, str(books)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def replicas(containers: Containers) -> AsyncIterator[Containers]:
    """Three of order, two of the others; one of each afterwards."""
    await containers.scale(**REPLICAS)
    yield containers
    await containers.scale(**dict.fromkeys(REPLICAS, 1))


async def test_replicas_share_calls_and_partitions(shop: Shop, replicas: Containers) -> None:
    """Once clients have found them, every replica answers calls and handles events, and the books balance."""
    shelf_before = await shelf(replicas)
    orders: list[Placed] = []
    at_work: dict[tuple[str, str], set[str]] = defaultdict(set)

    async def shared() -> bool:
        load = Load(replicas, RATE_PER_SECOND, ORDERS // 3)
        await load.run()
        orders.extend(load.orders)
        for span in await spans_of(shop, load):
            if span.kind in (SERVER, CONSUMER):
                at_work[span.service, span.name].add(span.instance)
        return all(len(at_work[work]) == REPLICAS[work[0]] for work in WORK)

    # Connections are renewed, and names asked again, every thirty seconds.
    await eventually(shared, "every replica takes its share", 90)
    assert [order for order in orders if order.outcome != order.expected] == []
    books = await audit(replicas, orders, shelf_before)
    assert books.balance, str(books)


async def test_the_page_is_told_of_every_replica(shop: Shop, replicas: Containers) -> None:
    """A name leads to all of them."""
    rows = (await shop.get("/explorer/replicas"))["replicas"]
    answered = Counter(row["service"] for row in rows if row["error"] is None)
    assert answered == Counter(REPLICAS | {"gateway": 1})
    assert len({row["replica"] for row in rows}) == len(rows)


async def test_a_killed_replica_is_replaced_by_the_others(shop: Shop, replicas: Containers) -> None:
    """No request fails, another relay takes over within five seconds, the partitions find a new owner."""
    shelf_before = await shelf(replicas)
    load = Load(replicas, RATE_PER_SECOND, ORDERS)
    async with load.listening():
        placing = asyncio.create_task(load.place())
        await eventually(lambda: asyncio.sleep(0, len(load.orders) >= ORDERS // 3), "a third is offered")
        await replicas.crash("order")
        await placing
        await load.drain(60)
    try:
        assert load.refusals == []
        assert len(load.accepted) == ORDERS
        assert await shop.neither_dictated_nor_late(load) == []
        books = await audit(replicas, load.accepted, shelf_before)
        assert books.balance, str(books)
        sent = [span for span in await spans_of(shop, load) if span.name.startswith("send order.events ")]
        waits = [span.attributes["shop.outbox.age_ms"] for span in sent if "shop.outbox.age_ms" in span.attributes]
        assert max(waits) < TAKEOVER_MS_MAX
    finally:
        await replicas.recover("order")
        await replicas.ready("order")


async def test_a_frozen_replica_costs_no_order(shop: Shop, replicas: Containers) -> None:
    """Within fifteen seconds nobody waits for it any more, streams included; when it goes on it harms nothing.

    Every order ends as its card dictates, though each of the services has a replica that stands still.
    """
    confirmed = (await shop.place())["orderId"]
    await shop.ended(confirmed)
    shelf_before = await shelf(replicas)
    load = Load(replicas, RATE_PER_SECOND, ORDERS * 4, insist=True)
    url = replicas.gateway_url
    async with load.listening(), asyncio.TaskGroup() as streams, httpx.AsyncClient(base_url=url) as client:
        watches = [Watch(client, confirmed) for _ in range(2 * REPLICAS["order"])]
        watching = [streams.create_task(watch.read()) for watch in watches]
        await eventually(lambda: asyncio.sleep(0, all(watch.began for watch in watches)), "every stream is open")
        placing = asyncio.create_task(load.place())
        await eventually(lambda: asyncio.sleep(0, len(load.orders) >= ORDERS // 3), "some orders are offered")
        for name in REPLICAS:
            await replicas.freeze(name)
        noticed_at = time.time() + NOTICED_SECONDS_MAX
        try:
            await eventually(
                lambda: asyncio.sleep(0, any(watch.failed for watch in watches)),
                "a stream on a frozen replica ends",
                NOTICED_SECONDS_MAX,
            )
            await eventually(
                lambda: asyncio.sleep(0, len([order for order in load.orders if order.due_at > noticed_at]) >= 50),
                "some orders are offered since it was noticed",
                2 * NOTICED_SECONDS_MAX,
            )
        finally:
            for name in REPLICAS:
                await replicas.thaw(name)
        await asyncio.gather(*map(replicas.ready, REPLICAS))
        await placing
        await load.drain(60)
        for task in watching:
            task.cancel()
    assert len(load.accepted) == ORDERS * 4
    since = [order for order in load.accepted if order.due_at > noticed_at]
    assert [order for order in since if (order.accepted_at or 0) - order.due_at > ANSWERED_SECONDS_MAX] == []
    assert [order for order in load.orders if order.outcome != order.expected] == []
    books = await audit(replicas, load.accepted, shelf_before)
    assert books.balance, str(books)


class Watch:
    """One `:watch` through the gateway: whether it has begun, and whether it was told that it has failed."""

    def __init__(self, client: httpx.AsyncClient, order_id: str) -> None:
        self._client, self._order_id = client, order_id
        self.began = self.failed = False

    async def read(self) -> None:
        """To its end."""
        accept = {"accept": "text/event-stream"}
        try:
            async with self._client.stream(
                "GET", f"/v1/orders/{self._order_id}:watch", headers=accept, timeout=60
            ) as answer:
                async for line in answer.aiter_lines():
                    self.began = True
                    self.failed = self.failed or line.startswith("event: error")
        except httpx.ReadError as error:
            # Cut on its way, where the engine's own proxy is too: it waits for nobody, but was not told either.
            print("a stream was cut:", repr(error), "caused by", repr(error.__cause__))  # noqa: T201 - shown if it fails


async def spans_of(shop: Shop, load: Load) -> list[Span]:
    """The spans of the traces of all orders that were confirmed."""

    async def spans(order_id: str) -> list[Span]:
        return await shop.trace((await shop.order(order_id))["traceId"], until="process order.events OrderConfirmed")

    confirmed = [order.order_id for order in load.accepted if order.outcome == "CONFIRMED"]
    return [span for found in await asyncio.gather(*map(spans, confirmed)) for span in found]
