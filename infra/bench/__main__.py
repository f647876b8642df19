"""Loads the shop in an open loop and reports what an order costs: `python -m infra.bench --help`."""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import track
from rich.table import Table

from infra.at_rest import NotAtRest, at_rest
from infra.bench.books import audit, shelf
from infra.bench.load import Load
from infra.local.ports import Ports
from infra.local.system import System as Embedded
from infra.system import System, Usage

PYTHON = ("gateway", "order", "payment", "inventory", "card-network", "traces")
SETTLE_SECONDS = 10.0
IDLE_SECONDS = 15.0
WARM_UP_SECONDS = 5.0


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
    cpu_ms_per_order_generator: float = 0.0
    idle_cpu_percent_of_a_core: dict[str, float] = field(default_factory=dict[str, float])
    memory_mib: dict[str, float] = field(default_factory=dict[str, float])
    spans_per_order: float = 0.0
    unbalanced: str = ""


class ShownLoad(Load):
    """A load whose progress a person can see."""

    def numbers(self) -> Iterator[int]:
        return iter(track(super().numbers(), total=self._count, description="placing orders"))


async def measure(system: System, rate_per_second: float, seconds: float) -> Report:
    """One run on a running system: idle first, then the load, then the books."""
    report = Report(rate_per_second, seconds, int(rate_per_second * seconds))
    await asyncio.sleep(SETTLE_SECONDS)
    before = await system.usage()
    await asyncio.sleep(IDLE_SECONDS)
    idle = since(before, await system.usage())
    report.idle_cpu_percent_of_a_core = {name: 100 * used.cpu_seconds / IDLE_SECONDS for name, used in idle.items()}

    # What only the first orders pay for is not measured: connections, prepared statements, a broker's compiler.
    await Load(system, rate_per_second, int(rate_per_second * WARM_UP_SECONDS)).run()
    shelf_before = await shelf(system)
    load = ShownLoad(system, rate_per_second, report.orders_offered)
    before, generator_before = await system.usage(), time.process_time()
    await load.run()
    generator_seconds = time.process_time() - generator_before
    # What follows the end of an order is part of its cost. If it does not end, the audit says so.
    with contextlib.suppress(NotAtRest):
        await at_rest(system)
    used = since(before, await system.usage())
    accepted, ended = load.accepted, load.ended
    report.orders_accepted = len(accepted)
    if ended:
        first, last = min(order.due_at for order in ended), max(order.ended_at or 0.0 for order in ended)
        report.orders_ended_per_second = len(ended) / (last - first)
    report.share_as_dictated = sum(order.outcome == order.expected for order in load.orders) / len(load.orders)
    report.accepted_ms = quantiles([(order.accepted_at or 0.0) - order.due_at for order in accepted])
    report.ended_ms = quantiles([(order.ended_at or 0.0) - order.due_at for order in ended])
    orders = max(1, len(accepted))
    report.cpu_ms_per_order = {name: 1000 * each.cpu_seconds / orders for name, each in used.items()}
    report.cpu_ms_per_order_generator = 1000 * generator_seconds / orders
    report.memory_mib = {name: each.memory_bytes / 2**20 for name, each in used.items()}
    with contextlib.suppress(httpx.ConnectError):  # `--without jaeger`: nobody counts spans
        report.spans_per_order = await spans_per_order(system, [order.order_id for order in ended[-20:]])
    report.unbalanced = str(await audit(system, accepted, shelf_before))
    return report


def since(before: dict[str, Usage], now: dict[str, Usage]) -> dict[str, Usage]:
    """What each part spent; one that came meanwhile spent all it has."""
    return {name: used.since(before.get(name, Usage(0.0, 0))) for name, used in now.items()}


def of_python(figures: dict[str, float]) -> float:
    """The sum over the processes that are the shop's own, and the trace store where it is one of them."""
    return sum(figure for name, figure in figures.items() if name in PYTHON)


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
    async with httpx.AsyncClient(trust_env=False) as client:
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
    summary.add_row("CPU of the Python processes", f"{of_python(report.cpu_ms_per_order):.1f} ms an order")
    summary.add_row("CPU of the load generator", f"{report.cpu_ms_per_order_generator:.1f} ms an order")
    idle = report.idle_cpu_percent_of_a_core
    summary.add_row("CPU of the idle system", f"{sum(idle.values()):.1f} %, Python {of_python(idle):.1f} % of a core")
    summary.add_row("memory", f"{sum(report.memory_mib.values()):.0f} MiB")
    summary.add_row("spans of an order", f"{report.spans_per_order:.0f}")
    summary.add_row("money, stock and events", report.unbalanced or "balance")
    console.print(summary)
    parts = Table("part", "CPU ms/order", "idle CPU %", "MiB")
    for name in report.cpu_ms_per_order:
        figures = (report.cpu_ms_per_order[name], idle.get(name, 0.0), report.memory_mib[name])
        parts.add_row(name, *(f"{figure:.1f}" for figure in figures))
    console.print(parts)


@asynccontextmanager
async def started(arguments: argparse.Namespace) -> AsyncGenerator[System]:
    """The system that the command line asks for."""
    if not arguments.compose:
        async with Embedded(ports=Ports.free()) as embedded:
            yield embedded
        return
    # Only here: what starts containers is installed for development alone.
    from infra.containers.system import System as Containers

    replicas: dict[str, int] = dict.fromkeys(("order", "payment", "inventory"), arguments.replicas)
    async with Containers(replicas=replicas) as containers:
        for name in arguments.without:
            await containers.stop(name)
        yield containers


async def run(arguments: argparse.Namespace) -> list[Report]:
    """Start a system of its own for each rate, measure it, print the report and write what was measured so far."""
    console = Console()
    reports: list[Report] = []
    for rate in arguments.rate or [45.0]:
        console.print("starting the system")
        async with started(arguments) as system:
            # Only here: a browser is installed for development alone.
            from infra.bench.page import open_page

            async with open_page(system) if arguments.page else contextlib.nullcontext():
                reports.append(await measure(system, rate, arguments.seconds))
        print_report(reports[-1], console)
        arguments.output.write_text(json.dumps([asdict(report) for report in reports], indent=2) + "\n")
    return reports


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.bench", description=__doc__)
    parser.add_argument("--rate", type=float, action="append", help="orders a second; may be repeated (default: 45)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long orders are placed (default: %(default)s)")
    parser.add_argument("--compose", action="store_true", help="load the containers, not the embedded system")
    parser.add_argument("--replicas", type=int, default=1, help="of each service, in containers (default: %(default)s)")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="a container to stop before")
    parser.add_argument("--page", action="store_true", help="with the explorer open on one order all the while")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="default: %(default)s")
    arguments = parser.parse_args()
    if any(report.unbalanced for report in asyncio.run(run(arguments))):
        sys.exit("money, stock or events do not balance")


if __name__ == "__main__":
    main()
