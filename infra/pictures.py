"""Takes the README's pictures from a real run, in containers: `make pictures`."""

import asyncio
from pathlib import Path

from playwright.async_api import Browser

from infra.browser import browser
from infra.containers.system import ROOT, System
from infra.jaeger.page import WIDTH
from infra.jaeger.pictures import take_pictures
from infra.local.demo import EXAMPLES, Demo

PICTURES = ROOT / "docs" / "pictures"
EXPLORER = "an-order-in-the-explorer.png"
HEIGHT = 1500
# What a process does for the first time takes longer: imports, connections, plans of statements.
WARM_UP = 5
SECONDS_MAX = 20.0


async def main() -> None:
    async with System() as system, browser() as chromium:
        async with Demo(system.gateway_url, system.traces_url) as demo:
            for _ in range(WARM_UP):
                await demo.outcome(EXAMPLES[0])
        await take_pictures(system.gateway_url, system.traces_url, chromium, PICTURES)
        await draw_an_order(system.gateway_url, system.traces_url, chromium, PICTURES)


async def draw_an_order(gateway_url: str, traces_url: str, chromium: Browser, folder: Path) -> None:
    """A declined order in the explorer: the answers about it, its timeline, and most of its diagram."""
    async with Demo(gateway_url, traces_url) as demo:
        order = (await demo.outcome(EXAMPLES[1])).order
    context = await chromium.new_context(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
    async with context:
        page = await context.new_page()
        await page.goto(f"{gateway_url}/#/orders/{order['orderId']}")
        await page.wait_for_selector('[data-trace-state="whole"]', timeout=1000 * SECONDS_MAX)
        await page.screenshot(path=folder / EXPLORER)


if __name__ == "__main__":
    asyncio.run(main())
