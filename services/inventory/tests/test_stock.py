"""Reading the shelf and adding to it."""

import pytest
from shop.inventory.v1 import inventory_service_pb2 as rpc
from shop.money.v1.money_pb2 import Money

from chassis import paging
from chassis.database import Database
from chassis.errors import Invalid, KeyReused, NotFound
from services.inventory import stock
from services.inventory.tests.driver import Driver, Shelf


async def listed(database: Database, **request: object) -> rpc.ListStockResponse:
    async with database.single() as once:
        return await stock.list_stock(once, rpc.ListStockRequest(**request))  # type: ignore[arg-type] - each field


async def walked(database: Database, page_size: int) -> list[str]:
    """The names on all pages, one after the other."""
    names, token = list[str](), ""
    while True:
        page = await listed(database, page_size=page_size, page_token=token)
        assert 1 <= len(page.items) <= page_size
        names += [item.sku for item in page.items]
        token = page.next_page_token
        if not token:
            return names


async def test_an_article_shows_what_is_there_and_what_it_costs(driver: Driver, order_id: str) -> None:
    sku = await driver.article(5, price_minor=1490)
    await driver.reserve(order_id, {sku: 2})

    async with driver.database.single() as once:
        item = await stock.get_stock(once, rpc.GetStockRequest(sku=sku))

    assert (item.sku, item.available, item.held) == (sku, 3, 2)
    assert item.unit_price == Money(amount_minor=1490, currency_code="EUR")


@pytest.mark.parametrize("sku", ["no-such", "Espresso-Beans", "nul\0", "é", "%"])
async def test_a_name_that_nothing_bears_is_not_found(driver: Driver, sku: str) -> None:
    """Even one that the database cannot be asked for."""
    async with driver.database.single() as once:
        with pytest.raises(NotFound):
            await stock.get_stock(once, rpc.GetStockRequest(sku=sku))
    with pytest.raises(NotFound):
        await driver.restock(sku, 1, "a")


async def test_pages_hold_every_article_once_by_name(driver: Driver) -> None:
    """Whatever the page size; the last page says so."""
    for number in range(5):
        await driver.article(number)
    names = await walked(driver.database, page_size=100)
    assert names == sorted(set(names))
    assert {"espresso-beans", "last-one", "sold-out"} < set(names)

    assert await walked(driver.database, page_size=7) == names


async def test_a_page_is_twenty_articles_unless_told(driver: Driver) -> None:
    for _ in range(21):
        await driver.article(0)
    page = await listed(driver.database)
    assert len(page.items) == 20
    assert page.next_page_token


@pytest.mark.parametrize("token", ["nonsense!", "%%%", paging.token("nul\0"), paging.token("a", "b"), "é"])
async def test_a_foreign_page_token_is_refused_by_name(database: Database, token: str) -> None:
    with pytest.raises(Invalid) as refused:
        await listed(database, page_token=token)
    assert refused.value.field == "page_token"


async def test_a_restock_adds_once(driver: Driver, order_id: str) -> None:
    """The repeated request gets the answer of then, not of now."""
    sku = await driver.article(1, price_minor=100)

    first = await driver.restock(sku, 10, "monday")
    await driver.reserve(order_id, {sku: 4})

    assert (first.available, first.held, first.unit_price.amount_minor) == (11, 0, 100)
    assert await driver.restock(sku, 10, "monday") == first
    assert await driver.shelf(sku) == Shelf(7, 4)
    assert (await driver.restock(sku, 10, "tuesday")).available == 17


async def test_a_request_id_with_another_quantity_is_refused(driver: Driver) -> None:
    sku = await driver.article(0)
    await driver.restock(sku, 10, "monday")

    with pytest.raises(KeyReused) as refused:
        await driver.restock(sku, 11, "monday")

    assert refused.value.field == "request_id"
    assert await driver.shelf(sku) == Shelf(10, 0)


async def test_a_request_id_belongs_to_one_article(driver: Driver) -> None:
    first, second = await driver.article(0), await driver.article(0)
    await driver.restock(first, 1, "monday")

    assert (await driver.restock(second, 2, "monday")).available == 2


async def test_a_refused_restock_leaves_its_request_id_unused(driver: Driver, order_id: str) -> None:
    """The same request succeeds once the article exists."""
    sku = f"article-{order_id}"
    with pytest.raises(NotFound):
        await driver.restock(sku, 1, "monday")
    await driver.article(0, sku=sku)

    assert (await driver.restock(sku, 1, "monday")).available == 1


async def test_restocking_makes_a_sold_out_article_available(driver: Driver, order_id: str) -> None:
    sku = await driver.article(0)
    await driver.restock(sku, 3, "monday")

    await driver.reserve(order_id, {sku: 3})

    assert await driver.shelf(sku) == Shelf(0, 3)
