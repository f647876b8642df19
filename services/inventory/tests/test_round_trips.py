"""How many statements a command costs between BEGIN and COMMIT, counted, so that they cannot grow unseen."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

from services.inventory.tests.driver import Driver


@contextmanager
def statements() -> Generator[list[str]]:
    """The statements that are executed inside."""
    seen: list[str] = []

    def see(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(" ".join(statement.split()))

    event.listen(Engine, "before_cursor_execute", see)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", see)


async def test_a_reservation_is_three_statements(driver: Driver, order_id: str) -> None:
    """The claim, the decision with everything it changes, the event; however many lines."""
    wanted = {await driver.article(5): 1 for _ in range(10)}

    with statements() as held:
        await driver.reserve(order_id, wanted)

    assert len(held) == 3
    assert held[-1].startswith("INSERT INTO outbox")


async def test_a_refusal_is_three_statements(driver: Driver, order_id: str) -> None:
    with statements() as refused:
        await driver.reserve(order_id, {"no-such": 1})
    assert len(refused) == 3


async def test_a_repeated_reservation_is_three_statements(driver: Driver, order_id: str) -> None:
    """It finds the work done, locks it, and tells its outcome again."""
    wanted = {await driver.article(5): 1}
    await driver.reserve(order_id, wanted)

    with statements() as repeated:
        await driver.reserve(order_id, wanted)

    assert len(repeated) == 3


async def test_a_release_is_four_statements(driver: Driver, order_id: str) -> None:
    """The tombstone that is not needed, the reservation, the shelf, the event."""
    await driver.reserve(order_id, {await driver.article(5): 1, await driver.article(5): 1})

    with statements() as released:
        await driver.release(order_id)

    assert len(released) == 4


async def test_a_tombstone_is_two_statements(driver: Driver, order_id: str) -> None:
    with statements() as entombed:
        await driver.release(order_id)
    assert len(entombed) == 2


async def test_a_shipment_is_three_statements(driver: Driver, order_id: str) -> None:
    """The inbox, the reservation, the shelf."""
    await driver.reserve(order_id, {await driver.article(5): 1})

    with statements() as shipped:
        await driver.confirmed(order_id)

    assert len(shipped) == 3


async def test_a_return_is_four_statements(driver: Driver, order_id: str) -> None:
    """The inbox, the reservation, the shelf, the event."""
    await driver.reserve(order_id, {await driver.article(5): 1})
    await driver.confirmed(order_id)

    with statements() as returned:
        await driver.cancelled(order_id)

    assert len(returned) == 4
