"""A person who opens /docs and clicks, without typing anything, places an order and asks what became of it."""

import pytest
from playwright.async_api import Browser, Locator

from e2e.conftest import Shop, embedded
from infra.system import System

pytestmark = [embedded, pytest.mark.browser]


async def tried(operation: Locator) -> str:
    """The status of the answer to what the page suggests for an operation."""
    await operation.locator(".opblock-summary-control").click()
    await operation.get_by_role("button", name="Try it out").click()
    await operation.get_by_role("button", name="Execute").click()
    return await operation.locator(".live-responses-table tbody .response-col_status").inner_text()


async def test_what_is_suggested_is_accepted_and_then_asked_for(shop: Shop, system: System, browser: Browser) -> None:
    """The good order is the one that is offered, and its id stands ready wherever an order's id is asked for."""
    page = await browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(f"{system.gateway_url}/docs")

    place, get, cancel = (
        page.locator(f"#operations-OrderService-{name}") for name in ("placeOrder", "getOrder", "cancelOrder")
    )
    assert await tried(place) == "202"
    assert await tried(get) == "200"
    order_id = await get.get_by_placeholder("order_id").input_value()
    assert (await shop.ended(order_id))["status"] == "CONFIRMED"
    assert await tried(cancel) == "200"
    assert (await shop.order(order_id))["status"] == "CANCELLED"
    assert await tried(page.locator("#operations-InventoryService-getStock")) == "200"

    # A second order takes the first one's place.
    await place.get_by_role("combobox").nth(1).select_option("sold-out")
    await place.get_by_role("button", name="Execute").click()
    await get.locator(f'input[placeholder="order_id"]:not([value="{order_id}"])').wait_for()
    rejected = await get.get_by_placeholder("order_id").input_value()
    assert (await shop.ended(rejected))["reason"] == "OUT_OF_STOCK"
    assert errors == []
    await page.close()
