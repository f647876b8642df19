"""How long events waited in the outbox and on Kafka, over a thousand orders with Kafka away for ten seconds among them.

create ──── in the outbox ────▶ timestamp of the acknowledged record ──── on Kafka ────▶ process
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from e2e.conftest import Shop, Span, eventually, visiting
from e2e.kinds import BY_NAME, kafka_away
from e2e.tree import ERROR, Tree
from infra.bench.load import Load
from infra.local.ports import Ports
from infra.local.system import System

ORDERS, RATE_PER_SECOND = 1_000, 25
AWAY_AFTER, AWAY_SECONDS = 400, 10
TOLERANCE_MS = 2.0
QUESTIONS_MAX = 8
OUTBOX, KAFKA = "shop.outbox.age_ms", "shop.kafka.age_ms"
HISTOGRAMS = {OUTBOX: "shop_outbox_age_seconds", KAFKA: "shop_kafka_age_seconds"}


@dataclass(frozen=True)
class Measured:
    """What the traces of the load say, and by how much the histograms grew: (sum in seconds, count) by attribute."""

    load: Load
    late: list[str]
    trees: list[Tree]
    grown: dict[str, tuple[float, float]]

    def all(self, verb: str) -> Iterator[Span]:
        """Every span of a verb: send or process."""
        return (span for tree in self.trees for span in tree.beginning(f"{verb} "))

    def waits_ms(self, attribute: str) -> list[float]:
        return [
            float(span.attributes[attribute])
            for tree in self.trees
            for span in tree.spans
            if attribute in span.attributes
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def measured() -> AsyncIterator[Measured]:
    """A system of its own: nothing but the load may be in its figures."""
    ports = Ports.free()
    async with System(ports=ports) as system, visiting(system) as shop:
        before = await histograms(ports)
        load = Load(system, RATE_PER_SECOND, ORDERS, insist=True)
        await placed_with_kafka_away(load, system)
        # Spans are exported in the order in which they end: with the last order's, all are there.
        confirmed = BY_NAME["confirmed"]
        last = await confirmed.play(shop)
        await shop.trace(last.trace_id, until=confirmed.is_told)
        await shop.at_rest()
        after = await histograms(ports)
        grown = {name: (after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in HISTOGRAMS}
        late = [order.order_id for order in await shop.neither_dictated_nor_late(load)]
        yield Measured(load, late, await trees(shop), grown)


async def placed_with_kafka_away(load: Load, system: System) -> None:
    async def offered(orders: int) -> None:
        await eventually(lambda: asyncio.sleep(0, len(load.orders) >= orders), f"{orders} orders are offered")

    async with load.listening():
        placing = asyncio.create_task(load.place())
        await offered(AWAY_AFTER)
        async with kafka_away(system):
            await offered(AWAY_AFTER + AWAY_SECONDS * RATE_PER_SECOND)
        await placing
        await load.drain(60)


async def histograms(ports: Ports) -> dict[str, tuple[float, float]]:
    """Sum and count of both histograms over all services, by the attribute that says the same on a span."""
    found = dict.fromkeys(HISTOGRAMS, (0.0, 0.0))
    async with httpx.AsyncClient(trust_env=False) as client:
        for port in (ports.order_admin, ports.payment_admin, ports.inventory_admin):
            answer = await client.get(f"http://127.0.0.1:{port}/metrics")
            samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
            for attribute, name in HISTOGRAMS.items():
                total, count = found[attribute]
                total += sum(sample.value for sample in samples if sample.name == f"{name}_sum")
                count += sum(sample.value for sample in samples if sample.name == f"{name}_count")
                found[attribute] = total, count
    return found


async def trees(shop: Shop) -> list[Tree]:
    """The trace of every order that was placed."""
    trace_ids: list[str] = []
    token = ""
    while True:
        page = await shop.get(f"/v1/orders?page_size=100&page_token={token}")
        trace_ids += [order["traceId"] for order in page["orders"]]
        if not (token := page["nextPageToken"]):
            break
    questions = asyncio.Semaphore(QUESTIONS_MAX)

    async def tree(trace_id: str) -> Tree:
        async with questions:
            return Tree(trace_id, await shop.spans(trace_id))

    return list(await asyncio.gather(*map(tree, trace_ids)))


async def test_every_order_ended(measured: Measured) -> None:
    """As its card dictates, or because a deadline passed; Kafka was away for longer than an event usually waits."""
    assert len(measured.load.accepted) == ORDERS
    assert [order for order in measured.load.accepted if not order.ended_at] == []
    assert measured.late == []
    assert len(measured.trees) == ORDERS + 1
    assert max(measured.waits_ms(OUTBOX)) > (AWAY_SECONDS - 1) * 1000


async def test_no_wait_is_negative(measured: Measured) -> None:
    """Every acknowledged `send` and every `process` bears its wait."""
    assert [span.name for span in measured.all("process") if KAFKA not in span.attributes] == []
    assert [span.name for span in measured.all("send") if (span.status == ERROR) == (OUTBOX in span.attributes)] == []
    for attribute in HISTOGRAMS:
        assert min(measured.waits_ms(attribute)) >= 0.0


async def test_both_waits_together_are_the_time_from_create_to_process(measured: Measured) -> None:
    """Within 2 ms, message by message: both meet at the timestamp of the record that was acknowledged.

    If an acknowledgement never came, the message was sent again, and somebody may hear the earlier record, instead or
    as well; its time on Kafka then begins while that `send` was under way.
    """
    counted: Counter[str] = Counter()
    wrong: list[str] = []
    for tree, processed in [(each, span) for each in measured.trees for span in each.beginning("process ")]:
        created = tree.by_id[processed.parent_id]
        sends = [span for span in tree.children(created) if span.name.startswith("send ")]
        acknowledged = next((span for span in sends if place_of(span) == place_of(processed)), None)
        counted["unknown records" if acknowledged is None else "acknowledged records"] += 1
        on_kafka_ms = float(processed.attributes[KAFKA])
        if acknowledged is not None:
            both_ms, took_ms = float(acknowledged.attributes[OUTBOX]) + on_kafka_ms, ms_between(created, processed)
            if abs(both_ms - took_ms) > TOLERANCE_MS:
                wrong.append(f"{processed.name}: both waits are {both_ms} ms, not {took_ms}")
        elif not any(
            -TOLERANCE_MS <= ms_between(send, processed) - on_kafka_ms <= ms_long(send) + TOLERANCE_MS
            for send in sends
            if send.status == ERROR
        ):
            wrong.append(f"{processed.name}: {on_kafka_ms} ms on Kafka, but nobody sent it then")
    assert wrong == [], f"{len(wrong)} of {counted}"
    # The saga hears both participants; unacknowledged is only what was on its way when the broker went.
    assert counted["acknowledged records"] > ORDERS * 2, counted
    assert counted["unknown records"] < ORDERS / 50, counted


def place_of(span: Span) -> tuple[Any, Any]:
    """Partition and offset of the record that a span has sent or processed; None where that is not known."""
    return span.attributes.get("messaging.destination.partition.id"), span.attributes.get("messaging.kafka.offset")


def ms_between(earlier: Span, later: Span) -> float:
    return (later.start_ns - earlier.start_ns) / 1e6


def ms_long(span: Span) -> float:
    return (span.end_ns - span.start_ns) / 1e6


@pytest.mark.parametrize("attribute", HISTOGRAMS)
async def test_histograms_say_what_the_spans_say(measured: Measured, attribute: str) -> None:
    """The same number of waits, and the same time in all within one per cent."""
    waits = measured.waits_ms(attribute)
    total_seconds, count = measured.grown[attribute]
    assert count == len(waits)
    assert total_seconds == pytest.approx(sum(waits) / 1000, rel=0.01)
