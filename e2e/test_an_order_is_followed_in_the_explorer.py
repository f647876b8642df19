"""An order is placed with one click in the explorer, drawn while it runs, cancelled, and found again."""

import re
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from e2e.conftest import Shop, embedded, on_containers
from e2e.explorer import Explorer, explorer
from infra.system import System

# The card network is silent for 15 s, and the saga waits for 10.
SLOWEST_MS = 40_000
ARROWS = ".diagram .rows > li .line"

pytestmark = [pytest.mark.browser]


@pytest_asyncio.fixture(loop_scope="session")
async def seen(system: System, browser: Browser) -> AsyncIterator[Explorer]:
    async with explorer(browser, system) as seen:
        await seen.page.goto(f"{system.gateway_url}/")
        yield seen
        assert not seen.errors, seen.errors


async def placed(seen: Explorer, example: str) -> str:
    """The id of an order that was placed with one click."""
    await seen.page.locator(f'[data-example="{example}"]').click()
    await seen.page.wait_for_url(re.compile(r"#/orders/"))
    return seen.page.url.rpartition("/")[2]


@embedded
async def test_one_click_places_an_order_of_each_kind(shop: Shop, seen: Explorer) -> None:
    """As many kinds as the API's examples have; each ends as its button says."""
    if (await shop.get("/v1/stock/last-one"))["available"] == "0":
        await shop.client.post("/v1/stock/last-one:restock", json={"quantity": 1})
    buttons = seen.page.locator("[data-example]")
    await expect(buttons.first).to_be_visible()
    expected = {
        await button.get_attribute("data-example"): re.findall(r"Ends ([A-Z]+)", await button.inner_text())[0]
        for button in await buttons.all()
    }
    assert len(expected) >= 10
    orders: dict[str, str] = {}
    for example in expected:
        await seen.page.goto(f"{seen.gateway_url}/#/")
        orders[example or ""] = await placed(seen, example or "")
    for example, order_id in orders.items():
        assert (await shop.ended(order_id))["status"] == expected[example], example


@on_containers
async def test_a_click_draws_an_order_on_real_servers(shop: Shop, seen: Explorer) -> None:
    """From its trace in Jaeger: every lane, and both waits of each message."""
    order_id = await placed(seen, "good-order")
    await seen.page.wait_for_selector('[data-trace-state="whole"]', timeout=SLOWEST_MS)
    lanes = await seen.page.locator(".diagram .lane").all_inner_texts()
    assert lanes == ["client", "gateway", "order", "inventory", "payment", "card-network", "Kafka"]
    assert await seen.page.locator(".diagram .wait").count() == 7
    assert (await shop.order(order_id))["status"] == "CONFIRMED"


@embedded
async def test_the_drawing_grows_while_the_order_runs(shop: Shop, seen: Explorer) -> None:
    """First what the timeline says, then arrows from spans; in the end no row that only the timeline knows."""
    order_id = await placed(seen, "tok-slow")
    rows = seen.page.locator(".diagram .rows > li")
    await expect(rows.first).to_be_visible()
    await expect(seen.page.locator(ARROWS).nth(7)).to_be_attached(timeout=SLOWEST_MS)
    assert (await shop.order(order_id))["status"] == "PENDING"
    grown = await seen.page.locator(ARROWS).count()
    await seen.page.wait_for_selector('[data-trace-state="whole"]', timeout=SLOWEST_MS)
    assert await seen.page.locator(ARROWS).count() > grown
    assert await seen.page.locator(".diagram .entry:not(i)").count() == 0


@embedded
async def test_a_pending_order_is_cancelled_with_a_click(shop: Shop, seen: Explorer) -> None:
    """The page shows the turn, and who undid what, when it is over; the button is of no use then."""
    order_id = await placed(seen, "tok-slow")
    await shop.heard(order_id, "StockReserved")
    await seen.page.get_by_role("button", name="Cancel the order").click()
    await expect(seen.page.locator("h1 .badge")).to_have_text(re.compile("CANCELLED"), timeout=SLOWEST_MS)
    await seen.page.wait_for_selector('[data-trace-state="whole"]', timeout=SLOWEST_MS)
    assert any("because CANCELLED_BY_CUSTOMER" in line for line in (await seen.answers())["undone"])
    await expect(seen.page.get_by_role("button", name="Cancel the order")).to_be_disabled()


@embedded
async def test_the_same_request_sent_again_is_the_same_order(shop: Shop, seen: Explorer) -> None:
    """What an Idempotency-Key is for; and the repeat's own trace stands below the order's."""
    await placed(seen, "good-order")
    await seen.page.wait_for_selector('[data-trace-state="whole"]', timeout=SLOWEST_MS)
    await seen.page.get_by_role("button", name="Send the same request again").click()
    await expect(seen.page.get_by_text("ordered nothing twice")).to_be_visible()


@embedded
async def test_the_list_is_live_and_can_be_searched(shop: Shop, seen: Explorer) -> None:
    """An order that somebody else places appears, changes its status, and is found by customer, status and id."""
    order_id = (await shop.place(customer_id="grace"))["orderId"]
    row = seen.page.locator(f'[data-order-id="{order_id}"]')
    await expect(row).to_be_visible()
    await expect(row).to_contain_text("CONFIRMED", timeout=SLOWEST_MS)
    other = (await shop.place(customer_id="heidi", card_token="tok_declined"))["orderId"]
    await expect(seen.page.locator(f'[data-order-id="{other}"]')).to_contain_text("REJECTED", timeout=SLOWEST_MS)
    find = seen.page.get_by_role("searchbox")
    for text, status, found in (
        ("grace", "", order_id),
        ("", "REJECTED", other),
        (other[:13] + other[13:], "", other),
    ):
        await find.fill(text)
        await seen.page.get_by_role("combobox").select_option(status)
        await expect(seen.page.locator(f'[data-order-id="{found}"]')).to_be_visible()
        unwanted = other if found == order_id else order_id
        await expect(seen.page.locator(f'[data-order-id="{unwanted}"]')).to_be_hidden()


@embedded
async def test_what_the_page_asks_for_itself_leaves_no_trace(shop: Shop, seen: Explorer) -> None:
    """List, figures, order, stream, source: the store's newest traces are orders."""
    order_id = (await shop.place())["orderId"]
    await shop.ended(order_id)
    await shop.at_rest()
    since = time.time()
    await seen.page.reload()
    await expect(seen.page.locator(f'[data-order-id="{order_id}"]')).to_be_visible()
    await expect(seen.page.get_by_text("./shop dead-letters list")).to_be_attached()
    await seen.open(order_id)
    await seen.page.locator(".diagram .rows button.what").first.click()
    await expect(seen.page.locator("#span pre, #span code").first).to_be_visible()
    # Spans are exported within a second; a repeated POST, which is traced, shows that they have been.
    again = (await shop.place())["traceId"]
    await shop.trace(again, until="send order.events OrderConfirmed")
    traces = await shop.traces_since(since)
    assert traces.keys() <= {again, *(id for id, names in traces.items() if all(_is_a_round(name) for name in names))}


def _is_a_round(name: str) -> bool:
    """The small traces of relay and consumer, which belong to orders."""
    return name.startswith(("poll ", "relay ", "UPDATE ", "SELECT ", "INSERT ", "batch ")) or "lease" in name
