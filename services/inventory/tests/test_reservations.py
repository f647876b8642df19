"""Reserving and releasing: all lines or none, once for an order, whatever comes first."""

from uuid import UUID

import pytest
from shop.inventory.v1.inventory_events_pb2 import ReservationRefused, StockReleased, StockReserved
from shop.inventory.v1.inventory_pb2 import PricedLine, Reservation
from shop.money.v1.money_pb2 import Money
from uuid_utils.compat import uuid7

from chassis.errors import NotFound, WrongState
from services.inventory.tests.driver import Driver, Shelf


def euro(amount_minor: int) -> Money:
    return Money(amount_minor=amount_minor, currency_code="EUR")


async def test_goods_that_are_there_are_held_at_their_prices(driver: Driver, order_id: str) -> None:
    """Available becomes held, and the event prices each line, by name, and the whole."""
    beans = await driver.article(10, sku=f"beans-{order_id}", price_minor=1490)
    papers = await driver.article(5, sku=f"apapers-{order_id}", price_minor=390)

    answer = await driver.reserve(order_id, {beans: 2, papers: 5})

    lines = [
        PricedLine(sku=papers, quantity=5, unit_price=euro(390)),
        PricedLine(sku=beans, quantity=2, unit_price=euro(1490)),
    ]
    assert answer.state == Reservation.HELD
    assert (list(answer.lines), answer.total) == (lines, euro(4930))
    assert await driver.events(order_id) == [StockReserved(order_id=order_id, lines=lines, total=euro(4930))]
    assert (await driver.shelf(beans), await driver.shelf(papers)) == (Shelf(8, 2), Shelf(0, 5))


async def test_one_line_too_many_refuses_the_order_and_takes_nothing(driver: Driver, order_id: str) -> None:
    """The line that could be held is not, and the event names the first of the short articles by name."""
    plenty = await driver.article(10)
    short, shorter = await driver.article(1, sku=f"s-{order_id}"), await driver.article(0, sku=f"r-{order_id}")

    answer = await driver.reserve(order_id, {plenty: 1, short: 2, shorter: 1})

    assert (answer.state, list(answer.lines), answer.HasField("total")) == (Reservation.REFUSED, [], False)
    assert await driver.events(order_id) == [
        ReservationRefused(order_id=order_id, reason=ReservationRefused.OUT_OF_STOCK, sku=shorter)
    ]
    assert [await driver.shelf(sku) for sku in (plenty, short, shorter)] == [Shelf(10, 0), Shelf(1, 0), Shelf(0, 0)]


async def test_an_unknown_article_is_named_before_a_short_one(driver: Driver, order_id: str) -> None:
    sold_out = await driver.article(0)

    answer = await driver.reserve(order_id, {sold_out: 1, "no-such-b": 1, "no-such-a": 1})

    assert answer.state == Reservation.REFUSED
    assert await driver.events(order_id) == [
        ReservationRefused(order_id=order_id, reason=ReservationRefused.UNKNOWN_SKU, sku="no-such-a")
    ]


async def test_an_order_of_unknown_articles_only_is_refused(driver: Driver, order_id: str) -> None:
    assert (await driver.reserve(order_id, {"no-such": 1})).state == Reservation.REFUSED


async def test_the_largest_order_has_a_sum(driver: Driver, order_id: str) -> None:
    """100 lines of 10,000 pieces at the highest price are what a money message may just say."""
    skus = [await driver.article(10_000, price_minor=1_000_000) for _ in range(100)]

    answer = await driver.reserve(order_id, dict.fromkeys(skus, 10_000))

    assert (answer.state, answer.total) == (Reservation.HELD, euro(1_000_000_000_000))


@pytest.mark.parametrize("available", [5, 1])
async def test_a_repeated_reservation_takes_once_and_tells_again_under_the_same_id(
    driver: Driver, order_id: str, available: int
) -> None:
    """Held or refused: the answer is the first one, and the event is the first one."""
    sku = await driver.article(available)
    first = await driver.reserve(order_id, {sku: 2})
    told = await driver.outbox(order_id)
    shelf = await driver.shelf(sku)
    await driver.relayed(order_id)
    assert not (await driver.outbox(order_id))[0].waits

    second = await driver.reserve(order_id, {sku: 2})

    assert second == first
    assert await driver.outbox(order_id) == told
    assert told[0].waits
    assert await driver.shelf(sku) == shelf


async def test_a_release_gives_back_what_is_held(driver: Driver, order_id: str) -> None:
    sku, other = await driver.article(5, price_minor=250), str(uuid7())
    await driver.reserve(order_id, {sku: 2})
    await driver.reserve(other, {sku: 1})

    answer = await driver.release(order_id)

    line = PricedLine(sku=sku, quantity=2, unit_price=euro(250))
    assert (answer.state, list(answer.lines), answer.total) == (Reservation.RELEASED, [line], euro(500))
    assert (await driver.events(order_id))[1:] == [StockReleased(order_id=order_id, lines=[line])]
    assert await driver.shelf(sku) == Shelf(4, 1)


async def test_a_second_release_gives_back_nothing_and_tells_again(driver: Driver, order_id: str) -> None:
    sku = await driver.article(5)
    await driver.reserve(order_id, {sku: 2})
    first = await driver.release(order_id)
    told = await driver.outbox(order_id)
    await driver.relayed(order_id)

    assert await driver.release(order_id) == first

    again = await driver.outbox(order_id)
    assert [event.waits for event in again] == [False, True]
    assert [event.id for event in again] == [event.id for event in told]
    assert await driver.shelf(sku) == Shelf(5, 0)


async def test_releasing_a_refused_reservation_ends_in_its_event(driver: Driver, order_id: str) -> None:
    await driver.reserve(order_id, {"no-such": 1})

    assert (await driver.release(order_id)).state == Reservation.RELEASED

    assert (await driver.events(order_id))[1:] == [StockReleased(order_id=order_id)]


async def test_a_release_that_comes_first_leaves_a_tombstone(driver: Driver, order_id: str) -> None:
    answer = await driver.release(order_id)

    assert (answer.state, list(answer.lines)) == (Reservation.RELEASED, [])
    assert await driver.events(order_id) == [StockReleased(order_id=order_id)]


async def test_a_late_reservation_finds_the_tombstone_and_holds_nothing(driver: Driver, order_id: str) -> None:
    """The answer is the tombstone, not an error, and its outcome is told again."""
    sku = await driver.article(5)
    tombstone = await driver.release(order_id)
    [released] = await driver.outbox(order_id)
    await driver.relayed(order_id)

    assert await driver.reserve(order_id, {sku: 2}) == tombstone

    assert await driver.outbox(order_id) == [released]
    assert await driver.shelf(sku) == Shelf(5, 0)


async def test_an_outcome_past_its_retention_is_not_told_again(driver: Driver, order_id: str) -> None:
    """The reservation still answers."""
    sku = await driver.article(5)
    first = await driver.reserve(order_id, {sku: 2})
    await driver.forget(order_id)

    assert await driver.reserve(order_id, {sku: 2}) == first
    assert await driver.outbox(order_id) == []


@pytest.mark.parametrize("returned", [False, True])
async def test_what_was_shipped_is_not_released(driver: Driver, order_id: str, returned: bool) -> None:
    """No saga releases a confirmed order: the command is refused and changes nothing."""
    sku = await driver.article(5)
    await driver.reserve(order_id, {sku: 2})
    await driver.confirmed(order_id)
    if returned:
        await driver.cancelled(order_id)
    shelf, told = await driver.shelf(sku), await driver.outbox(order_id)

    with pytest.raises(WrongState, match="RETURNED" if returned else "SHIPPED"):
        await driver.release(order_id)

    assert (await driver.shelf(sku), await driver.outbox(order_id)) == (shelf, told)


async def test_versions_count_the_events_of_an_order(driver: Driver, order_id: str) -> None:
    """1 for the reservation, 2 for its return; the shipment between them tells nobody."""
    sku = await driver.article(5)
    await driver.reserve(order_id, {sku: 2})
    await driver.confirmed(order_id)
    await driver.cancelled(order_id)

    told = await driver.outbox(order_id)
    assert [event.sequence for event in told] == [1, 2]
    assert all(isinstance(event.id, UUID) for event in told)


async def test_a_reservation_can_be_read_in_every_state(driver: Driver, order_id: str) -> None:
    """As the command that made it was answered, and later as events have moved it; lines and total stay."""
    sku = await driver.article(5)
    held = await driver.reserve(order_id, {sku: 2})
    assert await driver.reservation(order_id) == held
    await driver.confirmed(order_id)
    shipped = await driver.reservation(order_id)
    assert (shipped.state, shipped.lines, shipped.total) == (Reservation.SHIPPED, held.lines, held.total)
    await driver.cancelled(order_id)
    returned = await driver.reservation(order_id)
    assert (returned.state, returned.lines, returned.total) == (Reservation.RETURNED, held.lines, held.total)


async def test_what_holds_nothing_is_read_without_lines(driver: Driver, order_id: str) -> None:
    """A refusal, and the tombstone of a reservation that never was."""
    sold_out, tombstone = await driver.article(0), str(uuid7())
    refused = await driver.reserve(order_id, {sold_out: 1})
    released = await driver.release(tombstone)
    assert await driver.reservation(order_id) == refused
    assert await driver.reservation(tombstone) == released
    assert [(each.state, len(each.lines), each.HasField("total")) for each in (refused, released)] == [
        (Reservation.REFUSED, 0, False),
        (Reservation.RELEASED, 0, False),
    ]


async def test_an_order_that_reserved_nothing_has_no_reservation(driver: Driver, order_id: str) -> None:
    with pytest.raises(NotFound):
        await driver.reservation(order_id)
