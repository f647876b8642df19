"""The explorer where something is missing: an order, its trace, the trace store, the gateway."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, expect

from e2e.conftest import Shop, shop_with
from e2e.explorer import Explorer, explorer

NOBODY = "01890000-0000-7000-8000-000000000000"
SLOWEST_MS = 40_000

pytestmark = [pytest.mark.browser]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own() -> AsyncIterator[Shop]:
    """A shop whose parts may be taken away: other tests look for traces that they left earlier."""
    async with shop_with() as shop:
        yield shop


@pytest_asyncio.fixture(loop_scope="session")
async def seen(own: Shop, browser: Browser) -> AsyncIterator[Explorer]:
    async with explorer(browser, own.system) as seen:
        yield seen


async def told(shop: Shop) -> str:
    """An order whose spans have all come: what comes later would be a trace again."""
    order = await shop.place()
    await shop.trace(order["traceId"], until="process order.events OrderConfirmed")
    return order["orderId"]


async def test_an_order_that_nobody_placed_is_unknown(own: Shop, seen: Explorer) -> None:
    """A sentence and a way back; nothing on the console."""
    await seen.page.goto(f"{own.system.gateway_url}/#/orders/{NOBODY}")
    await expect(seen.page.get_by_role("heading", name="Unknown order")).to_be_visible()
    await expect(seen.page.locator("main").get_by_role("link", name="To the orders")).to_be_visible()
    assert not seen.errors, seen.errors


async def test_a_trace_store_that_is_away_is_said_and_the_trace_comes_when_it_is_back(
    own: Shop, seen: Explorer
) -> None:
    """The order goes on meanwhile, and the timeline tells it."""
    order_id = await told(own)
    await own.system.pause("traces")
    try:
        await seen.page.goto(f"{own.system.gateway_url}/#/orders/{order_id}")
        await seen.page.wait_for_selector('[data-trace-state="away"]', timeout=SLOWEST_MS)
        await expect(seen.page.locator(".diagram .entry:not(i)").first).to_be_visible()
        await expect(seen.page.locator("h1 .badge")).to_contain_text("CONFIRMED")
    finally:
        await own.system.resume("traces")
    await seen.page.wait_for_selector('[data-trace-state="whole"]', timeout=SLOWEST_MS)
    assert not seen.errors, seen.errors


async def test_an_old_order_is_looked_at_again_too(own: Shop, seen: Explorer) -> None:
    """Its trace cannot grow any more, but the first look may have failed."""
    order_id = await told(own)
    await seen.page.clock.set_system_time(datetime.now(UTC) + timedelta(hours=1))
    await own.system.pause("traces")
    try:
        await seen.page.goto(f"{own.system.gateway_url}/#/orders/{order_id}")
        await seen.page.wait_for_selector('[data-trace-state="away"]', timeout=SLOWEST_MS)
    finally:
        await own.system.resume("traces")
    await seen.page.wait_for_selector('[data-trace-state="whole"]', timeout=SLOWEST_MS)
    assert not seen.errors, seen.errors


async def test_the_page_goes_on_after_the_gateway_was_away(own: Shop, seen: Explorer) -> None:
    """It says that the shop does not answer, and then shows what came meanwhile, without a reload."""
    order_id = (await own.place("tok_slow"))["orderId"]
    await seen.page.goto(f"{own.system.gateway_url}/#/orders/{order_id}")
    await expect(seen.page.get_by_text("StockReserved").first).to_be_visible()
    await own.system.kill("gateway")
    await own.system.ready("gateway")
    await expect(seen.page.locator("h1 .badge")).to_contain_text("CONFIRMED", timeout=SLOWEST_MS)
    await seen.page.wait_for_selector('[data-trace-state="whole"]', timeout=SLOWEST_MS)


@pytest.mark.parametrize("part", ["main.js", "format.js", "style.css"])
async def test_a_page_of_which_a_part_did_not_come_is_loaded_again(own: Shop, seen: Explorer, part: str) -> None:
    """Without a module none of those that import it runs, and the page would stay empty."""
    lost: list[str] = []

    async def lose_once(route: Route) -> None:
        if lost:
            await route.fallback()
        else:
            lost.append(route.request.url)
            await route.abort("internetdisconnected")

    await seen.page.route(f"**/explorer/{part}", lose_once)
    await seen.page.goto(f"{own.system.gateway_url}/")
    async with seen.page.expect_event("load", timeout=SLOWEST_MS):
        pass
    await expect(seen.page.get_by_role("heading", name="Place an order")).to_be_visible(timeout=SLOWEST_MS)
    assert len(lost) == 1


async def test_a_shop_that_does_not_answer_is_said(own: Shop, seen: Explorer) -> None:
    """On the list and on an order; both recover by themselves."""
    order_id = (await own.place())["orderId"]
    await seen.page.goto(f"{own.system.gateway_url}/")
    await expect(seen.page.locator(f'[data-order-id="{order_id}"]')).to_be_visible()
    await own.system.pause("gateway")
    try:
        await expect(seen.page.get_by_text("The shop does not answer").first).to_be_visible(timeout=SLOWEST_MS)
    finally:
        await own.system.resume("gateway")
    newer = (await own.place())["orderId"]
    await expect(seen.page.locator(f'[data-order-id="{newer}"]')).to_be_visible(timeout=SLOWEST_MS)


async def test_a_trace_that_the_store_forgot_is_said(own: Shop, seen: Explorer) -> None:
    """The timeline is all that there is; the page does not go on asking."""
    order_id = await told(own)
    await own.system.kill("traces")
    await own.system.ready("traces")
    await seen.page.goto(f"{own.system.gateway_url}/#/orders/{order_id}")
    await seen.page.wait_for_selector('[data-trace-state="forgotten"]', timeout=SLOWEST_MS)
    await expect(seen.page.locator(".diagram .entry:not(i)").first).to_be_visible()
    assert not seen.errors, seen.errors


async def test_an_order_that_is_not_sampled_says_so(browser: Browser) -> None:
    """By the ratio: no trace will come, and nobody waits for it."""
    async with shop_with(gateway={"TRACE_SAMPLE_RATIO": "0"}) as shop, explorer(browser, shop.system) as seen:
        order_id = (await shop.place())["orderId"]
        await shop.ended(order_id)
        await seen.page.goto(f"{shop.system.gateway_url}/#/orders/{order_id}")
        await seen.page.wait_for_selector('[data-trace-state="not-sampled"]', timeout=SLOWEST_MS)
        await expect(seen.page.locator(".diagram .entry:not(i)").first).to_be_visible()
