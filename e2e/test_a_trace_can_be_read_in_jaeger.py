"""Jaeger's page, 1440 pixels wide, shows every kind of order with a name in each row and suspects no clock."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from e2e.conftest import Shop, on_containers
from e2e.kinds import KINDS, POST, Kind, Played, play_all
from infra.jaeger.page import WIDTH, TracePage, page_of
from infra.system import System

pytestmark = [pytest.mark.browser, on_containers]

DEPTH_MAX = 11
CONFIRMED_DEPTH_MAX = 9
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def played(system: System) -> dict[str, Played]:
    """Every kind of order, once each has told everything."""
    async with httpx.AsyncClient(base_url=system.gateway_url, timeout=15) as client:
        shop = Shop(system, client)
        played = await play_all(shop)
        for kind in KINDS:
            await shop.trace(played[kind.name].trace_id, until=kind.is_told)
        return played


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_page(system: System, browser: Browser) -> AsyncIterator[TracePage]:
    """The page as Jaeger has it by itself: a quarter of it for names."""
    async with page_of(browser, system.traces_url, configured=False) as page:
        yield page


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def our_page(system: System, browser: Browser) -> AsyncIterator[TracePage]:
    """The page with the configuration of this project."""
    async with page_of(browser, system.traces_url) as page:
        yield page


@every_kind
async def test_every_row_has_a_name(own_page: TracePage, played: dict[str, Played], kind: Kind) -> None:
    """In the quarter that Jaeger itself gives to names, no row is indented so far that nothing of its name is seen."""
    order = played[kind.name]
    for trace_id in (order.trace_id, *order.further_trace_ids):
        rows = await own_page.open(trace_id)
        assert rows[0].edge == WIDTH / 4
        assert [row for row in rows if not row.has_name] == []
        assert max(row.depth for row in rows) <= (CONFIRMED_DEPTH_MAX if kind.name == "confirmed" else DEPTH_MAX)


@every_kind
async def test_no_name_is_cut_and_no_clock_is_suspected(
    our_page: TracePage, played: dict[str, Played], kind: Kind
) -> None:
    """In half of the page each name can be read to its end; no span carries a warning; nothing fails in the page."""
    order = played[kind.name]
    for trace_id in (order.trace_id, *order.further_trace_ids):
        rows = await our_page.open(trace_id)
        assert rows[0].edge == WIDTH / 2
        assert [row for row in rows if row.is_cut] == []
        assert our_page.warnings == []
        assert our_page.errors == []


@pytest.mark.parametrize("name", ["confirmed", "declined card", "cancelled when confirmed", "repeated POST"])
async def test_a_search_for_the_order_finds_its_trace_alone(
    our_page: TracePage, played: dict[str, Played], name: str
) -> None:
    """Gateway, POST, the order's id: one trace, unless the POST was repeated."""
    order = played[name]
    found = await our_page.search("gateway", POST, {"shop.order.id": order.order_id})
    repeats = order.further_trace_ids if name == "repeated POST" else ()
    assert sorted(found) == sorted((order.trace_id, *repeats))
