"""The books after a load: what customers were told, what the card network took, what left the shelf, what was said."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer

from infra.at_rest import NotAtRest, at_rest
from infra.bench.load import FINAL, SKU, Placed
from infra.kafka.topics import EVENTS
from infra.system import System

QUESTIONS_MAX = 20


class AuditFailed(Exception):
    """A question was not answered, so that nothing can be said about the books; the message is the answer."""


@dataclass
class Books:
    """What does not balance; nothing, if all is well. Each entry is a sentence."""

    money: list[str] = field(default_factory=list[str])
    stock: list[str] = field(default_factory=list[str])
    events: list[str] = field(default_factory=list[str])

    @property
    def balance(self) -> bool:
        return not (self.money or self.stock or self.events)

    def __str__(self) -> str:
        wrong = [*self.money, *self.stock, *self.events]
        return "; ".join(wrong[:10]) + (f"; and {len(wrong) - 10} more" if len(wrong) > 10 else "")


async def shelf(system: System) -> tuple[int, int]:
    """Available and held of what the load orders, from a shop at rest.

    Raises:
        NotAtRest: it did not come to rest.
    """
    await at_rest(system)
    async with httpx.AsyncClient(base_url=system.gateway_url, timeout=10, trust_env=False) as shop:
        item = await _get(shop, f"/v1/stock/{SKU}")
    return int(item["available"]), int(item["held"])


async def audit(system: System, orders: Sequence[Placed], shelf_before: tuple[int, int]) -> Books:
    """Compare every accepted order with payment, card network, stock and the events on Kafka."""
    books = Books()
    confirmed = sum(order.outcome == "CONFIRMED" for order in orders)
    expected = (shelf_before[0] - confirmed, shelf_before[1])
    try:
        if (found := await shelf(system)) != expected:
            books.stock.append(f"available and held are {found}, not {expected}")
    except NotAtRest as error:
        books.stock.append(str(error))
    questions = asyncio.Semaphore(QUESTIONS_MAX)
    async with (
        httpx.AsyncClient(base_url=system.gateway_url, timeout=30, trust_env=False) as shop,
        httpx.AsyncClient(base_url=system.card_network_url, timeout=30, trust_env=False) as network,
    ):

        async def ask(order: Placed) -> None:
            async with questions:
                books.money.extend(await _money(shop, network, order))

        await asyncio.gather(*map(ask, orders))
    books.events.extend(_events(await _heard(system), orders))
    return books


async def _money(shop: httpx.AsyncClient, network: httpx.AsyncClient, order: Placed) -> list[str]:
    """What the order, its payment and the card network's own ledger do not agree on."""
    found = await _get(shop, f"/v1/orders/{order.order_id}")
    wrong: list[str] = []
    if found["status"] != order.outcome:
        wrong.append(f"order {order.order_id} is {found['status']}, its event said {order.outcome or 'nothing'}")
    due = int(found["total"]["amountMinor"]) if found["status"] == "CONFIRMED" else 0
    taken = 0
    if payment := await _get(shop, f"/v1/payments/{order.order_id}"):
        charge = await _get(network, f"/charges/{payment['paymentId']}")
        taken = charge["amountMinor"] if charge and charge["state"] == "CHARGED" else 0
        said = int(payment["amount"]["amountMinor"]) if payment["state"] == "CHARGED" else 0
        if said != taken:
            wrong.append(f"payment of order {order.order_id} says {said}, the network took {taken}")
    if taken != due:
        wrong.append(f"order {order.order_id} is {found['status']}: the network took {taken}, due is {due}")
    return wrong


async def _get(client: httpx.AsyncClient, path: str) -> Any:
    """The answer's JSON; None where there is no such thing.

    Raises:
        AuditFailed: another answer, with its text.
    """
    response = await client.get(path)
    if response.status_code == 404:
        return None
    if response.status_code != 200:
        raise AuditFailed(f"GET {path}: {response.status_code} {response.text}")
    return response.json()


Heard = dict[tuple[bytes, bytes], dict[int, set[tuple[bytes, bytes]]]]


async def _heard(system: System) -> Heard:
    """Every event, by source and subject, then by sequence: the (id, type) pairs that came under it."""
    consumer = AIOKafkaConsumer(
        *EVENTS,
        bootstrap_servers=system.kafka,
        group_id=None,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        partitions = consumer.assignment()
        ends = await consumer.end_offsets(partitions)
        heard: Heard = defaultdict(lambda: defaultdict(set))
        while [partition for partition in partitions if await consumer.position(partition) < ends[partition]]:
            batch = await consumer.getmany(timeout_ms=1000)
            for record in chain.from_iterable(batch.values()):
                headers = dict(record.headers)
                of = heard[headers["ce_source"], headers["ce_subject"]]
                of[int(headers["ce_sequence"])].add((headers["ce_id"], headers["ce_type"]))
    finally:
        await consumer.stop()
    return heard


def _events(heard: Heard, orders: Sequence[Placed]) -> list[str]:
    """Gaps, two events under one number, and orders whose last word is missing or another."""
    wrong: list[str] = []
    placed = {order.order_id.encode() for order in orders}
    for (source, subject), by_sequence in heard.items():
        if subject not in placed:
            continue
        who = f"{source.decode()} about {subject.decode()}"
        if sorted(by_sequence) != list(range(1, len(by_sequence) + 1)):
            wrong.append(f"{who}: the sequence is {sorted(by_sequence)}")
        wrong.extend(
            f"{who}: {len(events)} events are number {n}" for n, events in by_sequence.items() if len(events) > 1
        )
    for order in orders:
        said = heard.get((b"order", order.order_id.encode()), {})
        last = [kind for _, kind in said[max(said)]] if said else []
        if [FINAL.get(kind) for kind in last] != [order.outcome]:
            wrong.append(f"order {order.order_id} is {order.outcome}, its last event is {last}")
    return wrong
