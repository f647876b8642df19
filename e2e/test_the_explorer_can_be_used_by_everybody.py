"""The explorer with a keyboard, with a screen reader, on a narrow screen, in the dark, and without JavaScript."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from e2e.conftest import embedded
from e2e.explorer import Explorer, explorer
from e2e.plays import Plays
from infra.system import System

pytestmark = [pytest.mark.browser, embedded]

NARROW = {"width": 360, "height": 740}
WIDE = {"width": 1440, "height": 900}


@pytest_asyncio.fixture(loop_scope="session")
async def order_id(plays: Plays) -> str:
    """An order with compensation: it has a bit of everything."""
    return (await plays.of("declined-card")).told["orders"][0]["order"]["orderId"]


@pytest_asyncio.fixture(
    loop_scope="session", params=[(WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")]
)
async def seen(request: pytest.FixtureRequest, system: System, browser: Browser) -> AsyncIterator[Explorer]:
    viewport, scheme = request.param
    async with explorer(browser, system, viewport=viewport, color_scheme=scheme) as seen:
        yield seen
        assert not seen.errors, seen.errors


async def is_fit_for_all(page: Page) -> None:
    """axe finds nothing, and nobody has to scroll sideways."""
    found = await Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


async def test_the_front_view_is_fit_for_all(seen: Explorer) -> None:
    """Orders to place, the list, and what waits."""
    await seen.page.goto(f"{seen.gateway_url}/")
    await seen.page.wait_for_selector("[data-order-id]")
    await is_fit_for_all(seen.page)


async def test_an_order_and_a_span_of_it_are_fit_for_all(seen: Explorer, order_id: str) -> None:
    """The diagram, the answers and the panels; then with the source lines of a span open."""
    await seen.open(order_id)
    await is_fit_for_all(seen.page)
    await seen.page.locator(".diagram .rows button.what").filter(has_text="saga heard PaymentDeclined").click()
    await expect(seen.page.locator("#span")).to_contain_text("services/order/saga.py")
    await is_fit_for_all(seen.page)


async def test_a_span_is_opened_and_closed_with_the_keyboard(system: System, browser: Browser, order_id: str) -> None:
    """Enter opens it, the address names it, Escape closes it, and the focus is where it was."""
    async with explorer(browser, system, viewport=WIDE) as seen:
        await seen.open(order_id)
        row = seen.page.locator(".diagram .rows button.what").filter(has_text="ReserveStock").first
        await row.focus()
        await seen.page.keyboard.press("Enter")
        await expect(seen.page.locator("#span")).to_be_visible()
        await expect(seen.page.locator("#span")).to_contain_text("shop.inventory.v1.InventoryService/ReserveStock")
        assert len(seen.page.url.rpartition("/")[2]) == 16
        await seen.page.keyboard.press("Escape")
        await expect(seen.page.locator("#span")).to_be_hidden()
        await expect(
            seen.page.locator(".diagram .rows button.what").filter(has_text="ReserveStock").first
        ).to_be_focused()
        assert not seen.errors, seen.errors


async def test_everything_on_an_order_s_page_is_reached_with_tab(
    system: System, browser: Browser, order_id: str
) -> None:
    """Each button and link that can be seen, in the order of the page, and nothing traps the focus."""
    async with explorer(browser, system, viewport=WIDE) as seen:
        await seen.open(order_id)
        await seen.page.locator("body").focus()
        reached: list[str] = []
        for _ in range(600):
            await seen.page.keyboard.press("Tab")
            name = await seen.page.evaluate(
                "document.activeElement === document.body ? '' : document.activeElement.innerText.trim()"
            )
            if not name:
                break
            reached.append(name)
        rows = await seen.page.locator(".diagram .rows button.what").count()
        assert sum("in the outbox" in name for name in reached) >= 5
        assert len(reached) > rows


async def test_without_javascript_it_says_what_to_do(system: System, browser: Browser) -> None:
    """The commands and pages that show the same."""
    async with explorer(browser, system, java_script_enabled=False) as seen:
        await seen.page.goto(f"{seen.gateway_url}/")
        text = await seen.page.locator("main").inner_text()
        assert "./shop order watch" in text
        assert "/docs" in text
