"""Jaeger's page as somebody reads it in a browser: the rows of a trace, the details of a span, the search.

async with page_of(browser, url) as page: …      a reader who comes for the first time: the browser remembers nothing
"""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Response, Route

CONFIGURATION = (Path(__file__).parent / "ui.js").read_text().strip()
WIDTH, HEIGHT = 1440, 900
# Left of the divider by less than this, nothing of a name can be read.
NAME_PIXELS_MIN = 8
# In Jaeger's unit.
HOUR = 3_600_000_000

_ROWS = """rows => rows.map(row => {
    const name = row.querySelector(".endpoint-name").getBoundingClientRect();
    return {
        key: row.getAttribute("data-item-key"),
        service: row.querySelector(".span-svc-name").innerText.trim(),
        operation: row.querySelector(".endpoint-name").innerText.trim(),
        depth: row.querySelectorAll(".SpanTreeOffset--indentGuide").length,
        begins: name.left,
        ends: name.right,
        edge: row.querySelector(".span-name-column").getBoundingClientRect().right,
    };
})"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the timeline. `depth` counts from the root, which has 1; the others are pixels from the page's left.

    Attributes:
        begins: where the operation's text begins, seen or not.
        ends: where it ends.
        edge: where the column of the names ends.
    """

    key: str
    service: str
    operation: str
    depth: int
    begins: float
    ends: float
    edge: float

    @property
    def has_name(self) -> bool:
        return self.begins <= self.edge - NAME_PIXELS_MIN

    @property
    def is_cut(self) -> bool:
        return self.ends > self.edge


class TracePage:
    """A page of Jaeger that shows traces.

    Attributes:
        errors: what the browser's console called an error.
        warnings: Jaeger's own about the spans of the trace that is open.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page, self._url = page, url
        self.errors: list[str] = []
        self.warnings: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    async def open(self, trace_id: str) -> list[Row]:
        """Show a trace; returns its rows, all of them."""
        async with self.page.expect_response(f"**/api/traces/{trace_id}*") as answered:
            await self.page.goto(f"{self._url}/trace/{trace_id}")
        self.warnings = await _warnings(await answered.value)
        await self.page.locator(".span-row").first.wait_for()
        return await self._rows()

    async def _rows(self) -> list[Row]:
        # Only rows in sight, and some around them, are there.
        seen: dict[str, Row] = {}
        while True:
            before = len(seen)
            drawn = self.page.locator(".VirtualizedTraceView--row:has(.span-row)")
            for row in await drawn.evaluate_all(_ROWS):
                seen.setdefault(row["key"], Row(**row))
            if len(seen) == before:
                await self.page.evaluate("window.scrollTo(0, 0)")
                return list(seen.values())
            await drawn.last.scroll_into_view_if_needed()

    async def details(self, operation: str) -> Locator:
        """The table of attributes of the first span of that name."""
        row = self.page.locator(".VirtualizedTraceView--row", has=self.page.get_by_text(operation, exact=True)).first
        await row.locator(".span-name").click()
        details = row.locator("xpath=following-sibling::*[1]")
        # What Jaeger's page calls tags.
        await details.locator(".AccordianKeyValues--header", has_text="Tags:").click()
        return details.locator(".KeyValueTable")

    async def search(self, service: str, operation: str, tags: dict[str, str]) -> list[str]:
        """The ids of the traces that Jaeger's search page lists for that."""
        now = time.time_ns() // 1000
        times = {"lookback": "custom", "start": now - HOUR, "end": now + HOUR, "limit": 20}
        asked = {"service": service, "operation": operation, "tags": json.dumps(tags), **times}
        await self.page.goto(f"{self._url}/search?{urlencode(asked)}")
        results = self.page.locator("a.ResultItemTitle--item")
        await results.or_(self.page.get_by_text("No trace results")).first.wait_for()
        addresses = await results.evaluate_all("links => links.map(link => link.getAttribute('href'))")
        return [address.removeprefix("/trace/").split("?")[0] for address in addresses]

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)


@asynccontextmanager
async def page_of(browser: Browser, url: str, *, configured: bool = True) -> AsyncGenerator[TracePage]:
    """Jaeger's page in a new window.

    Args:
        configured: by ui.js; otherwise as Jaeger has it by itself, for Jaeger changes nothing else in its page.
    """
    context = await browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB", timezone_id="UTC")
    if not configured:
        await context.route(lambda address: address.startswith(f"{url}/trace/"), _without_configuration)
    yield TracePage(await context.new_page(), url)
    await context.close()


async def _without_configuration(route: Route) -> None:
    response = await route.fetch()
    await route.fulfill(response=response, body=(await response.text()).replace(CONFIGURATION, ""))


async def _warnings(response: Response) -> list[str]:
    answer: dict[str, Any] = await response.json()
    return [warning for span in answer["data"][0]["spans"] for warning in span["warnings"] or ()]
