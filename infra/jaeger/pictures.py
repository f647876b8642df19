"""Takes the README's pictures of Jaeger's page from a real run."""

from pathlib import Path

from playwright.async_api import Browser

from infra.jaeger.page import TracePage, page_of
from infra.local.demo import EXAMPLES, Demo, Example

CONFIRMED, DECLINED = EXAMPLES[:2]


async def take_pictures(gateway_url: str, traces_url: str, chromium: Browser, folder: Path) -> None:
    """A confirmed order, a declined one with the turn of its saga unfolded, and both compared."""
    async with Demo(gateway_url, traces_url) as demo:
        confirmed, declined = await trace_of(demo, CONFIRMED), await trace_of(demo, DECLINED)
    async with page_of(chromium, traces_url) as page:
        await page.open(confirmed)
        await take(page, folder / "a-confirmed-order.png")
        await page.open(declined)
        # It begins as the other order does; what matters is why it ends otherwise.
        await page.fold("shop.inventory.v1.InventoryService/ReserveStock")
        await page.attributes("saga heard PaymentDeclined")
        await take(page, folder / "a-declined-order.png")
        await page.compare(confirmed, declined, begins="saga reserve_stock")
        await take(page, folder / "compare.png")


async def trace_of(demo: Demo, example: Example) -> str:
    outcome = await demo.outcome(example)
    if not outcome.is_as_expected:
        raise RuntimeError(f"{example.title}: {outcome.order}")
    return outcome.order["traceId"]


async def take(page: TracePage, file: Path) -> None:
    await page.page.evaluate("window.scrollTo(0, 0)")
    # Whatever the pointer rests on is shown otherwise.
    await page.page.mouse.move(0, 0)
    await page.page.locator(".ant-popover:not(.ant-popover-hidden)").wait_for(state="hidden")
    await page.page.screenshot(path=file, full_page=True)
