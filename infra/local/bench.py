"""Loads the embedded system in an open loop and reports what an order costs: `python -m infra.local.bench --help`."""

import argparse
import asyncio
import json
import random
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import httpx
from aiokafka import AIOKafkaConsumer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from infra.local.ports import Ports
from infra.local.system import System
from infra.local.usage import Usage, usage_of

DECLINED_SHARE = 0.1
PYTHON = ("gateway", "order", "payment", "inventory", "card-network", "traces")
PARTS = (*PYTHON, "broker", "postgres")
FINAL = {
    b"shop.order.v1.OrderConfirmed": "CONFIRMED",
    b"shop.order.v1.OrderRejected": "REJECTED",
    b"shop.order.v1.OrderCancelled": "CANCELLED",
}
DRAIN_SECONDS_MAX = 120.0
IDLE_SECONDS = 15.0


@dataclass(slots=True)
class Placed:
    """One order of the load; times are seconds since the epoch."""

    due_at: float
    expected: str
    accepted_at: float | None = None
    order_id: str = ""
    ended_at: float | None = None
    outcome: str = ""


@dataclass
class Report:
    """What one run measured; times in milliseconds, memory in MiB."""

    rate_per_second: float
    seconds: float
    orders_offered: int
    orders_accepted: int = 0
    orders_ended_per_second: float = 0.0
    share_as_dictated: float = 0.0
    accepted_ms: dict[str, float] = field(default_factory=dict[str, float])
    ended_ms: dict[str, float] = field(default_factory=dict[str, float])
    cpu_ms_per_order: dict[str, float] = field(default_factory=dict[str, float])
    cpu_ms_per_order_python: float = 0.0
    cpu_ms_per_order_generator: float = 0.0
    idle_cpu_percent_of_a_core: dict[str, float] = field(default_factory=dict[str, float])
    pss_mib: dict[str, float] = field(default_factory=dict[str, float])
    spans_per_order: float = 0.0


class Load:
    """Posts orders at a fixed rate, whatever becomes of those before, and hears on Kafka how each ends."""

    def __init__(self, system: System, rate_per_second: float, count: int) -> None:
        self._system, self._rate_per_second, self._count = system, rate_per_second, count
        self._by_id: dict[str, Placed] = {}
        self._early: dict[str, tuple[str, float]] = {}
        self.orders: list[Placed] = []

    async def run(self) -> None:
        """Place all orders and wait, bounded, until each has ended."""
        listening = asyncio.create_task(self._listen())
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        async with httpx.AsyncClient(base_url=self._system.gateway_url, timeout=30, limits=limits) as client:
            began = time.time()
            async with asyncio.TaskGroup() as posts:
                for number in track(range(self._count), description="placing orders"):
                    due_at = began + number / self._rate_per_second
                    await asyncio.sleep(max(0.0, due_at - time.time()))
                    posts.create_task(self._post(client, number, due_at))
        ends_at = time.time() + DRAIN_SECONDS_MAX
        while self._is_open() and time.time() < ends_at:  # noqa: ASYNC110 - what listens wakes nobody
            await asyncio.sleep(0.1)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    def _is_open(self) -> bool:
        return any(order.accepted_at and not order.ended_at for order in self.orders)

    async def _post(self, client: httpx.AsyncClient, number: int, due_at: float) -> None:
        declined = random.random() < DECLINED_SHARE  # noqa: S311 - a mix, not a secret
        order = Placed(due_at, "REJECTED" if declined else "CONFIRMED")
        self.orders.append(order)
        body = {
            "customerId": f"bench-{number % 1000}",
            "cardToken": "tok_declined" if declined else "tok_visa",
            "lines": [{"sku": "espresso-beans", "quantity": 1}],
        }
        try:
            response = await client.post("/v1/orders", json=body)
        except httpx.TransportError:
            return
        if response.status_code != 202:
            return
        order.accepted_at, order.order_id = time.time(), response.json()["orderId"]
        self._by_id[order.order_id] = order
        if early := self._early.pop(order.order_id, None):
            order.outcome, order.ended_at = early

    async def _listen(self) -> None:
        """An order has ended when the event that says so was written: its `ce_time`, by this machine's clock."""
        consumer = AIOKafkaConsumer(
            "order.events", bootstrap_servers=self._system.kafka, group_id=None, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            async for record in consumer:
                headers = dict(record.headers)
                outcome = FINAL.get(headers["ce_type"])
                if outcome is None:
                    continue
                ended_at = datetime.fromisoformat(headers["ce_time"].decode()).timestamp()
                order_id = headers["ce_subject"].decode()
                if order := self._by_id.get(order_id):
                    order.outcome, order.ended_at = outcome, ended_at
                else:
                    self._early[order_id] = (outcome, ended_at)
        finally:
            await consumer.stop()


async def measure(system: System, rate_per_second: float, seconds: float) -> Report:
    """One run on a running system: idle first, then the load, then the books."""
    report = Report(rate_per_second, seconds, int(rate_per_second * seconds))
    before = usage(system)
    await asyncio.sleep(IDLE_SECONDS)
    idle = {name: 100 * used.cpu_seconds / IDLE_SECONDS for name, used in spent(before, usage(system)).items()}
    report.idle_cpu_percent_of_a_core = idle

    load = Load(system, rate_per_second, report.orders_offered)
    before, generator_before = usage(system), time.process_time()
    await load.run()
    after = usage(system)
    accepted = [order for order in load.orders if order.accepted_at]
    ended = [order for order in accepted if order.ended_at]
    report.orders_accepted = len(accepted)
    if ended:
        first, last = min(order.due_at for order in ended), max(order.ended_at or 0.0 for order in ended)
        report.orders_ended_per_second = len(ended) / (last - first)
    report.share_as_dictated = sum(order.outcome == order.expected for order in load.orders) / len(load.orders)
    report.accepted_ms = quantiles([(order.accepted_at or 0.0) - order.due_at for order in accepted])
    report.ended_ms = quantiles([(order.ended_at or 0.0) - order.due_at for order in ended])
    report.cpu_ms_per_order = {
        name: 1000 * used.cpu_seconds / max(1, len(accepted)) for name, used in spent(before, after).items()
    }
    report.cpu_ms_per_order_python = sum(report.cpu_ms_per_order[name] for name in PYTHON)
    report.cpu_ms_per_order_generator = 1000 * (time.process_time() - generator_before) / max(1, len(accepted))
    report.pss_mib = {name: used.pss_bytes / 2**20 for name, used in after.items()}
    report.spans_per_order = await spans_per_order(system, [order.order_id for order in ended[-20:]])
    return report


def usage(system: System) -> dict[str, Usage]:
    """What each part uses now; the runner, which is this process too, is left out."""
    return {name: usage_of(system.pid(name)) for name in PARTS}


def spent(before: dict[str, Usage], after: dict[str, Usage]) -> dict[str, Usage]:
    """The difference; the memory is that of now."""
    return {name: Usage(used.cpu_seconds - before[name].cpu_seconds, used.pss_bytes) for name, used in after.items()}


def quantiles(seconds: list[float]) -> dict[str, float]:
    """The median and the 99th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return {
        f"p{share}": 1000 * ordered[min(len(ordered) - 1, len(ordered) * share // 100)] if ordered else 0.0
        for share in (50, 99)
    }


async def spans_per_order(system: System, order_ids: list[str]) -> float:
    """How many spans the traces of these orders have, on average."""
    counts: list[int] = []
    async with httpx.AsyncClient() as client:
        for order_id in order_ids:
            order = (await client.get(f"{system.gateway_url}/v1/orders/{order_id}")).json()
            answer = await client.get(f"{system.traces_url}/api/v3/traces/{order['traceId']}")
            if answer.status_code == 200:
                resources = answer.json()["result"]["resourceSpans"]
                counts.append(sum(len(scope["spans"]) for each in resources for scope in each["scopeSpans"]))
    return sum(counts) / len(counts) if counts else 0.0


def print_report(report: Report, console: Console) -> None:
    """The report as tables for a person."""
    summary = Table("", "", title=f"{report.rate_per_second:g} orders/s for {report.seconds:g} s", show_header=False)
    summary.add_row("orders offered, accepted", f"{report.orders_offered}, {report.orders_accepted}")
    summary.add_row("orders per second to a terminal status", f"{report.orders_ended_per_second:.1f}")
    summary.add_row("ended as card and stock dictate", f"{report.share_as_dictated:.2%}")
    summary.add_row("POST → 202", f"p50 {report.accepted_ms['p50']:.0f} ms, p99 {report.accepted_ms['p99']:.0f} ms")
    summary.add_row("POST → terminal", f"p50 {report.ended_ms['p50']:.0f} ms, p99 {report.ended_ms['p99']:.0f} ms")
    summary.add_row("CPU of the Python processes", f"{report.cpu_ms_per_order_python:.1f} ms an order")
    summary.add_row("CPU of the load generator", f"{report.cpu_ms_per_order_generator:.1f} ms an order")
    summary.add_row("CPU of the idle system", f"{sum(report.idle_cpu_percent_of_a_core.values()):.1f} % of a core")
    summary.add_row("memory (PSS)", f"{sum(report.pss_mib.values()):.0f} MiB")
    summary.add_row("spans of an order", f"{report.spans_per_order:.0f}")
    console.print(summary)
    parts = Table("process", "CPU ms/order", "idle CPU %", "PSS MiB")
    for name in PARTS:
        figures = (report.cpu_ms_per_order[name], report.idle_cpu_percent_of_a_core[name], report.pss_mib[name])
        parts.add_row(name, *(f"{figure:.1f}" for figure in figures))
    console.print(parts)


async def run(rates_per_second: list[float], seconds: float) -> list[Report]:
    """Start a system of its own for each rate, measure it, print the report."""
    console = Console()
    reports: list[Report] = []
    for rate in rates_per_second:
        console.print("starting the system")
        async with System(ports=Ports.free()) as system:
            reports.append(await measure(system, rate, seconds))
        print_report(reports[-1], console)
    return reports


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.bench", description=__doc__)
    parser.add_argument("--rate", type=float, action="append", help="orders a second; may be repeated (default: 45)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long orders are placed (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="default: %(default)s")
    arguments = parser.parse_args()
    reports = asyncio.run(run(arguments.rate or [45.0], arguments.seconds))
    arguments.output.write_text(json.dumps([asdict(report) for report in reports], indent=2) + "\n")


if __name__ == "__main__":
    main()
