"""How many statements a command costs between BEGIN and COMMIT, counted, so that they cannot grow unseen."""

from chassis.testing import Spans, attributes
from services.inventory.tests.driver import Driver


def statements(spans: Spans) -> list[str]:
    """The statements since the last `clear()`: each has a span of its own, but that of the outbox ends its events'."""
    own = [span.name for span in spans.all() if "db.query.text" in attributes(span)]
    return [*own, *(["INSERT outbox"] if any(span.name.startswith("create ") for span in spans.all()) else [])]


async def test_a_reservation_is_three_statements(driver: Driver, spans: Spans, order_id: str) -> None:
    """The claim, the decision with everything it changes, the event; however many lines."""
    wanted = {await driver.article(5): 1 for _ in range(10)}

    spans.clear()
    await driver.reserve(order_id, wanted)

    assert len(statements(spans)) == 3
    assert statements(spans)[-1] == "INSERT outbox"


async def test_a_refusal_is_three_statements(driver: Driver, spans: Spans, order_id: str) -> None:
    spans.clear()
    await driver.reserve(order_id, {"no-such": 1})
    assert len(statements(spans)) == 3


async def test_a_repeated_reservation_is_three_statements(driver: Driver, spans: Spans, order_id: str) -> None:
    """It finds the work done, locks it, and tells its outcome again."""
    wanted = {await driver.article(5): 1}
    await driver.reserve(order_id, wanted)

    spans.clear()
    await driver.reserve(order_id, wanted)

    assert len(statements(spans)) == 3


async def test_a_release_is_four_statements(driver: Driver, spans: Spans, order_id: str) -> None:
    """The tombstone that is not needed, the reservation, the shelf, the event."""
    await driver.reserve(order_id, {await driver.article(5): 1, await driver.article(5): 1})

    spans.clear()
    await driver.release(order_id)

    assert len(statements(spans)) == 4


async def test_a_tombstone_is_two_statements(driver: Driver, spans: Spans, order_id: str) -> None:
    spans.clear()
    await driver.release(order_id)
    assert len(statements(spans)) == 2


async def test_a_shipment_is_three_statements(driver: Driver, spans: Spans, order_id: str) -> None:
    """The inbox, the reservation, the shelf."""
    await driver.reserve(order_id, {await driver.article(5): 1})

    spans.clear()
    await driver.confirmed(order_id)

    assert len(statements(spans)) == 3


async def test_a_return_is_four_statements(driver: Driver, spans: Spans, order_id: str) -> None:
    """The inbox, the reservation, the shelf, the event."""
    await driver.reserve(order_id, {await driver.article(5): 1})
    await driver.confirmed(order_id)

    spans.clear()
    await driver.cancelled(order_id)

    assert len(statements(spans)) == 4
