"""Jaeger is away: telemetry is nobody's condition."""

from e2e.conftest import on_containers
from infra.bench.books import audit, shelf
from infra.bench.load import Load
from infra.containers.system import System as Containers


@on_containers
async def test_a_missing_trace_store_costs_no_order(containers: Containers) -> None:
    """Every order is accepted and ends as its card dictates, and the books balance."""
    shelf_before = await shelf(containers)
    load = Load(containers, 20, 100)
    await containers.stop("jaeger")
    try:
        await load.run()
    finally:
        await containers.start("jaeger")
    assert load.refusals == []
    assert len(load.accepted) == 100
    assert [order for order in load.orders if order.outcome != order.expected] == []
    books = await audit(containers, load.accepted, shelf_before)
    assert books.balance, str(books)
