"""What the configuration makes of Jaeger's page: wide names, the shop's attributes first, links that lead somewhere."""

import linecache
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from playwright.async_api import Browser

from chassis import telemetry
from chassis.relay import Relay
from chassis.source import code
from infra.jaeger.page import HEIGHT, WIDTH, TracePage, page_of
from infra.jaeger.tests.container import ROOT, Jaeger
from infra.local.tests.sample_spans import TRACE_ID, export, span

pytestmark = [pytest.mark.docker, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ORDER_ID = "0198c0de-0000-7000-8000-000000000001"
CODE = ("code.file.path", "code.function.name", "code.line.number")
LINE = f"chassis/relay.py:{code(Relay.round)['code.line.number']}"


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    with Jaeger(tmp_path_factory.mktemp("jaeger"), "memory", settings={"GATEWAY_PORT": "18080"}) as started:
        started.send(relayed())
        started.until_kept(TRACE_ID)
        yield started


def relayed() -> ExportTraceServiceRequest:
    """A trace of one span, whose code is a function of this clone."""
    attributes = {"a.first": "by the alphabet", telemetry.ORDER_ID: ORDER_ID, **code(Relay.round)}
    return export("order", "test", span("relay", "00f067aa0ba902b7", attributes=attributes))


async def attributes(page: TracePage) -> dict[str, str | None]:
    """The attributes of the span as the page lists them, each with where its link leads."""
    await page.open(TRACE_ID)
    rows = await (await page.details("relay")).locator("tr").all()
    shown: dict[str, str | None] = {}
    for row in rows:
        links = await row.locator("a").all()
        shown[await row.locator("td").first.inner_text()] = await links[0].get_attribute("href") if links else None
    assert page.errors == []
    return shown


async def test_names_have_half_the_page_until_somebody_drags_the_divider(jaeger: Jaeger, browser: Browser) -> None:
    """Who likes it otherwise keeps it so, from one trace to the next."""
    async with page_of(browser, jaeger.url) as page:
        [row] = await page.open(TRACE_ID)
        assert row.edge == WIDTH / 2
        await page.page.locator(".VerticalResizer--dragger").hover()
        await page.page.mouse.down()
        await page.page.mouse.move(WIDTH / 3, HEIGHT / 2)
        await page.page.mouse.up()
        [row] = await page.open(TRACE_ID)
        assert row.edge == pytest.approx(WIDTH / 3, abs=10)


async def test_the_shops_attributes_come_first(jaeger: Jaeger, browser: Browser) -> None:
    """Before those of the conventions, in the order of the alphabet."""
    async with page_of(browser, jaeger.url) as page:
        assert list(await attributes(page))[:2] == [telemetry.ORDER_ID, "a.first"]


async def test_links_lead_to_the_timeline_and_to_the_line_of_code(jaeger: Jaeger, browser: Browser) -> None:
    """To the gateway on the port it has, and into this clone, at the line where the function begins."""
    async with page_of(browser, jaeger.url) as page:
        links = await attributes(page)
    assert links[telemetry.ORDER_ID] == f"http://127.0.0.1:18080/v1/orders/{ORDER_ID}/timeline"
    [link] = {links[key] for key in CODE}
    assert link is not None
    path, line = link.removeprefix("vscode://file").rsplit(":", 1)
    assert Path(path) == ROOT / "chassis/relay.py"
    assert re.match(r"\s*(async )?def round\(", linecache.getline(path, int(line)))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"SOURCE_URL_TEMPLATE": "https://github.com/OWNER/REPOSITORY/blob/main/{path}#L{line}"},
            "https://github.com/OWNER/REPOSITORY/blob/main/" + LINE.replace(":", "#L"),
        ),
        ({"PWD": "C:\\Users\\José Ñ\\shop"}, f"vscode://file/C:/Users/Jos%C3%A9%20%C3%91/shop/{LINE}"),
        ({"PWD": ""}, None),
    ],
    ids=["a code host", "a folder of Windows", "nothing is known"],
)
async def test_the_line_of_code_is_where_the_settings_say(
    tmp_path: Path, browser: Browser, settings: dict[str, str], expected: str | None
) -> None:
    """What nobody told Jaeger has no link, instead of one that leads nowhere."""
    with Jaeger(tmp_path, "memory", settings=settings) as jaeger:
        jaeger.send(relayed())
        jaeger.until_kept(TRACE_ID)
        async with page_of(browser, jaeger.url) as page:
            links = await attributes(page)
    assert {links[key] for key in CODE} == {expected}
