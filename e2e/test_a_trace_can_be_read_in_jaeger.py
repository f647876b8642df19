"""Jaeger's page, 1440 pixels wide, shows every kind of order with a name in each row and suspects no clock."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from e2e.conftest import on_containers
from e2e.kinds import KINDS, POST, Kind
from e2e.plays import PLAYED_THERE, Plays
from e2e.stories import Stories
from infra.jaeger.page import WIDTH, TracePage, page_of
from infra.jaeger.pictures import take_pictures
from infra.pictures import PICTURES, draw_an_order
from infra.system import System

pytestmark = [pytest.mark.browser, on_containers]

DEPTH_MAX, CONFIRMED_DEPTH_MAX = 11, 9
PICTURE_BYTES_MAX = 350_000
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


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
async def test_every_row_has_a_name(own_page: TracePage, stories: Stories, kind: Kind) -> None:
    """In the quarter that Jaeger itself gives to names, no row is indented so far that nothing of its name is seen."""
    for tree in stories[kind.name].trees:
        rows = await own_page.open(tree.trace_id)
        assert rows[0].edge == WIDTH / 4
        assert [row for row in rows if not row.has_name] == []
        assert max(row.depth for row in rows) <= (CONFIRMED_DEPTH_MAX if kind.status == "CONFIRMED" else DEPTH_MAX)


@every_kind
async def test_no_name_is_cut_and_no_clock_is_suspected(our_page: TracePage, stories: Stories, kind: Kind) -> None:
    """In half of the page each name can be read to its end; no span carries a warning; nothing fails in the page."""
    for tree in stories[kind.name].trees:
        rows = await our_page.open(tree.trace_id)
        assert rows[0].edge == WIDTH / 2
        assert [row for row in rows if row.is_cut] == []
        assert our_page.warnings == []
        assert our_page.errors == []


@pytest.mark.parametrize("name", PLAYED_THERE)
async def test_the_traces_of_a_scenario_can_be_read_too(
    own_page: TracePage, our_page: TracePage, plays: Plays, name: str
) -> None:
    """A name in each row, none cut in half of the page, no clock suspected: of whatever `./shop play` shows."""
    for trace_id in (await plays.of(name)).trace_ids.values():
        rows = await own_page.open(trace_id)
        assert [row for row in rows if not row.has_name] == []
        assert max(row.depth for row in rows) <= DEPTH_MAX
        assert [row for row in await our_page.open(trace_id) if row.is_cut] == []
        assert our_page.warnings == []


@pytest.mark.parametrize("name", ["confirmed", "repeated POST"])
async def test_a_search_for_the_order_finds_its_trace_alone(our_page: TracePage, stories: Stories, name: str) -> None:
    """Gateway, POST, the order's id: one trace, unless the POST was repeated."""
    order = stories[name].played
    found = await our_page.search("gateway", POST, {"shop.order.id": order.order_id})
    assert sorted(found) == sorted((order.trace_id, *order.further_trace_ids))


async def test_the_pictures_of_the_readme_can_be_taken_again(system: System, browser: Browser, tmp_path: Path) -> None:
    """The script finds the spans that it unfolds; a picture is as wide as the page, and small enough for a README."""
    await take_pictures(system.gateway_url, system.traces_url, browser, tmp_path)
    await draw_an_order(system.gateway_url, system.traces_url, browser, tmp_path)
    assert set(names_in(tmp_path)) == set(names_in(PICTURES))
    for content in (*contents(tmp_path), *contents(PICTURES)):
        assert int.from_bytes(content[16:20]) == WIDTH
        assert len(content) < PICTURE_BYTES_MAX


def names_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.iterdir()]
