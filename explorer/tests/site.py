"""The page in a real browser, with recorded answers instead of a gateway: what is drawn, and from what."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, Route

from explorer.pages import FOLDER, page_headers

Json = dict[str, Any]

# Fulfilled by the browser's own routes: nothing listens there.
ORIGIN = "http://explorer.localhost"
RECORDED = Path(__file__).parents[2] / "cli" / "tests" / "recorded"
_MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

SETTINGS: Json = {
    "traces": {
        "page": f"{ORIGIN}/jaeger/{{trace_id}}",
        "store": "memory",
        "sampleRatio": 1.0,
        "async": "parent",
        "exported": True,
        "decisionSeconds": 90,
    },
    "heardBy": {},
    "undoneBy": {},
}


def recorded(name: str) -> Json:
    """The store's answer about the order of a scenario that was played."""
    return json.loads((RECORDED / f"{name}.json").read_text())["the order"]


def spans_of(answer: Json) -> list[tuple[str, Json]]:
    """Each span with its service's name."""
    return [
        (resource["resource"]["attributes"][0]["value"]["stringValue"], span)
        for resource in answer["result"]["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def without(answer: Json, is_gone: Callable[[Json], bool]) -> Json:
    """The answer, with the spans left out that are gone."""
    copy = json.loads(json.dumps(answer))
    for resource in copy["result"]["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            scope["spans"] = [span for span in scope["spans"] if not is_gone(span)]
    return copy


@asynccontextmanager
async def site(browser: Browser, answers: Mapping[str, Any], **options: Any) -> AsyncGenerator[Page]:
    """A page whose every question is answered from `answers`, by path; what is not there is 204, absent.

    Raises AssertionError in the end if something was said on the browser's console.
    """
    context = await browser.new_context(timezone_id="UTC", locale="en-GB", reduced_motion="reduce", **options)
    told = {"/explorer/settings": SETTINGS, **answers}
    said: list[str] = []

    async def answer(route: Route) -> None:
        path = route.request.url.removeprefix(ORIGIN).partition("?")[0]
        file = FOLDER / ("index.html" if path == "/" else path.removeprefix("/explorer/"))
        if path in told:
            await route.fulfill(json=told[path])
        elif file.suffix in _MEDIA_TYPES and file.is_file():
            headers = {"content-type": _MEDIA_TYPES[file.suffix], **page_headers()}
            await route.fulfill(headers=headers, body=file.read_bytes())
        else:
            await route.fulfill(status=204, headers={"shop-absent": "NOT_RECORDED"})

    page = await context.new_page()
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    await page.route("**/*", answer)
    try:
        yield page
        assert not said, said
    finally:
        await context.close()
