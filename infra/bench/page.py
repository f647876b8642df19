"""Measures the explorer in a real browser while orders come in: `python -m infra.bench.page --help`."""

import argparse
import asyncio
import json
import statistics
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, Page
from rich.console import Console
from rich.table import Table

from infra.bench.load import SKU, Load
from infra.browser import browser
from infra.containers.system import System as Containers
from infra.local.ports import Ports
from infra.local.spans import Span, trace_spans
from infra.local.system import System as Embedded
from infra.system import System

ROWS = 500
PAINTS, ORDERS = 5, 10
SLOW_FRAME_MS = 100
SECONDS_MAX = 60.0
WHOLE = '[data-trace-state="whole"]'

Json = dict[str, Any]

# Of each frame, how long it took; since the page asked to begin.
_FRAMES = """() => {
    window.frames_ms = [];
    let last = performance.now();
    const frame = (now) => { window.frames_ms.push(now - last); last = now; requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
}"""
_PAINTED = """() => new Promise((resolve) => new PerformanceObserver((list) => {
    const [paint] = list.getEntriesByName("first-contentful-paint");
    if (paint) resolve(paint.startTime);
}).observe({ type: "paint", buffered: true }))"""
# When each entry of the timeline came onto the page, and when the trace was said to be complete; by the clock.
_SEEN = """() => {
    window.seen = {};
    const look = () => {
        for (const { dataset: { position } } of document.querySelectorAll("[data-position]"))
            window.seen[position] ??= Date.now();
        if (document.querySelector('[data-trace-state="whole"]')) window.seen.whole ??= Date.now();
    };
    new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true });
}"""


@dataclass
class Figures:
    """In milliseconds; shares are of all frames."""

    first_paint_ms: list[float] = field(default_factory=list[float])
    entry_ms: list[float] = field(default_factory=list[float])
    whole_trace_ms: list[float] = field(default_factory=list[float])
    frames: int = 0
    slow_share_of_the_list: float = 0.0
    slow_share_of_an_empty_page: float = 0.0
    rows: int = 0

    @property
    def slow_share(self) -> float:
        """What the list adds to what this machine does to any page."""
        return self.slow_share_of_the_list - self.slow_share_of_an_empty_page


async def measure(system: System, chromium: Browser, rate_per_second: float, seconds: float) -> Figures:
    """All figures on a running system."""
    figures = Figures()
    for _ in range(PAINTS):
        figures.first_paint_ms.append(await first_paint(chromium, f"{system.gateway_url}/"))
    for _ in range(ORDERS):
        entries, whole = await an_order(chromium, system)
        figures.entry_ms += entries
        figures.whole_trace_ms.append(whole)
    await Load(system, 40.0, ROWS).run()
    await frames(system, chromium, rate_per_second, seconds, figures)
    return figures


@asynccontextmanager
async def open_page(system: System) -> AsyncGenerator[None]:
    """Somebody looks at one order as long as the block lasts; it ended before."""
    async with browser() as chromium, await chromium.new_context() as context:
        page = await context.new_page()
        await page.goto(f"{system.gateway_url}/#/orders/{await _place(system, 'tok_visa')}")
        await page.wait_for_selector(WHOLE, timeout=1000 * SECONDS_MAX)
        yield


async def _place(system: System, card_token: str) -> str:
    body = {"customerId": "bench", "cardToken": card_token, "lines": [{"sku": SKU, "quantity": 1}]}
    async with httpx.AsyncClient(base_url=system.gateway_url, trust_env=False, timeout=SECONDS_MAX) as client:
        return (await client.post("/v1/orders", json=body)).json()["orderId"]


async def first_paint(chromium: Browser, url: str) -> float:
    """Of a browser that has nothing of the page yet."""
    async with await chromium.new_context() as context:
        page = await context.new_page()
        await page.goto(url, wait_until="load")
        return await page.evaluate(_PAINTED)


async def an_order(chromium: Browser, system: System) -> tuple[list[float], float]:
    """How long after their commit entries of a slow order came onto its page, and its trace after the last event."""
    async with (
        await chromium.new_context() as context,
        httpx.AsyncClient(base_url=system.gateway_url, trust_env=False, timeout=SECONDS_MAX) as client,
    ):
        page = await context.new_page()
        await page.add_init_script(f"({_SEEN})()")
        order_id = await _place(system, "tok_slow")
        await page.goto(f"{system.gateway_url}/#/orders/{order_id}")
        opened_at = await page.evaluate("Date.now()")
        await page.wait_for_selector(WHOLE, timeout=1000 * SECONDS_MAX)
        seen = await page.evaluate("window.seen")
        order = (await client.get(f"/v1/orders/{order_id}")).json()
        timeline = (await client.get(f"/v1/orders/{order_id}/timeline")).json()["entries"]
        answer = (await client.get(f"{system.traces_url}/api/v3/traces/{order['traceId']}")).json()
    spans = list(trace_spans(answer))
    committed = {entry["position"]: _committed_ms(entry, spans) for entry in timeline}
    entries = [seen[position] - at for position, at in committed.items() if at > opened_at]
    handled = max(span.end for span in spans if span.kind == "CONSUMER") / 1e6
    return entries, seen["whole"] - handled


def _committed_ms(entry: Json, spans: list[Span]) -> float:
    """When the transaction that wrote the entry had ended: the span of the work that it was part of."""
    by_id = {span.id: span for span in spans}
    told = by_id[entry["spanId"]]
    causes = [by_id[link.span_id] for link in told.links if link.span_id in by_id]
    return max(span.end for span in (told, *causes)) / 1e6


async def frames(system: System, chromium: Browser, rate_per_second: float, seconds: float, figures: Figures) -> None:
    """Frames of the list while orders come in, and of an empty page in a second browser beside it."""
    async with (
        browser() as beside,
        await chromium.new_context() as context,
        await beside.new_context() as empty_context,
    ):
        listed, empty = await context.new_page(), await empty_context.new_page()
        await listed.goto(f"{system.gateway_url}/")
        await listed.wait_for_selector("[data-order-id]")
        await _all_rows(listed)
        figures.rows = await listed.locator("[data-order-id]").count()
        for page in (listed, empty):
            await page.evaluate(_FRAMES)
        await Load(system, rate_per_second, int(rate_per_second * seconds)).run()
        of_list, of_empty = [await page.evaluate("window.frames_ms") for page in (listed, empty)]
    figures.frames = len(of_list)
    figures.slow_share_of_the_list, figures.slow_share_of_an_empty_page = map(_slow_share, (of_list, of_empty))


async def _all_rows(page: Page) -> None:
    """Until the list holds ROWS orders."""
    rows, older = page.locator("[data-order-id]"), page.get_by_role("button", name="older")
    async with asyncio.timeout(SECONDS_MAX):
        for page_end in range(100, ROWS, 100):
            await rows.nth(page_end - 1).wait_for(state="attached")
            await older.click()
        await rows.nth(ROWS - 1).wait_for(state="attached")


def _slow_share(frames_ms: list[float]) -> float:
    return sum(frame > SLOW_FRAME_MS for frame in frames_ms) / len(frames_ms)


def print_figures(figures: Figures, console: Console) -> None:
    """As a table for a person."""
    table = Table("", "median", "largest", title="The explorer")
    for name, values in (
        ("first paint", figures.first_paint_ms),
        ("timeline entry on the page after its commit", figures.entry_ms),
        ("whole trace after the last event was handled", figures.whole_trace_ms),
    ):
        table.add_row(name, f"{statistics.median(values):.0f} ms", f"{max(values):.0f} ms")
    console.print(table)
    console.print(
        f"{figures.frames} frames of a list of {figures.rows} orders: {figures.slow_share_of_the_list:.4f} took over"
        f" {SLOW_FRAME_MS} ms; of an empty page beside it {figures.slow_share_of_an_empty_page:.4f};"
        f" difference {figures.slow_share:.4f}."
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rate", type=float, default=20.0, help="orders a second while the list is watched")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the list is watched")
    parser.add_argument("--compose", action="store_true", help="measure the containers, not the embedded system")
    parser.add_argument("--replicas", type=int, default=1, help="of each service; containers only")
    parser.add_argument("--json", type=Path, default=Path("bench-page.json"), help="where the figures are written")
    arguments = parser.parse_args()
    counts: dict[str, int] = dict.fromkeys(("order", "payment", "inventory"), arguments.replicas)
    system = Containers(replicas=counts) if arguments.compose else Embedded(ports=Ports.free())
    async with system, browser() as chromium:
        figures = await measure(system, chromium, arguments.rate, arguments.seconds)
    arguments.json.write_text(json.dumps(asdict(figures), indent=2) + "\n")
    print_figures(figures, Console())


if __name__ == "__main__":
    asyncio.run(main())
