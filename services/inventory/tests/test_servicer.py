"""The service as its callers meet it: through a real gRPC server, with validation and error details."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from opentelemetry.trace import SpanKind, StatusCode
from shop.inventory.v1 import inventory_service_pb2 as rpc
from shop.inventory.v1.inventory_pb2 import Reservation, ReservationLine
from shop.inventory.v1.inventory_service_pb2_grpc import (
    InventoryServiceStub,
    add_InventoryServiceServicer_to_server,
)
from uuid_utils.compat import uuid7

from chassis import grpc_client
from chassis.database import Database
from chassis.grpc_server import Server
from chassis.testing import Spans, attributes, eventually, is_child
from conftest import free_port
from services.inventory.servicer import InventoryServicer
from services.inventory.tests.driver import Driver

ORDER_ID = "018f4a3e-7b1c-7000-8000-000000000000"


@pytest.fixture
async def stub(database: Database) -> AsyncIterator[Any]:
    """A client of the served service."""
    port = free_port()
    server, stopping = Server("127.0.0.1", port, grace_seconds=1), asyncio.Event()
    add_InventoryServiceServicer_to_server(InventoryServicer(database), server.grpc)
    serving = asyncio.create_task(server.run(stopping, "shop.inventory.v1.InventoryService"))

    async def served() -> bool:
        try:
            await server.serving()
        except ConnectionError:
            return False
        return True

    await eventually(served)
    async with grpc_client.connect(f"127.0.0.1:{port}") as channel:
        yield InventoryServiceStub(channel)
    stopping.set()
    await serving


async def refusal(call: Callable[..., Awaitable[object]], request: object) -> tuple[grpc.StatusCode, str, list[str]]:
    """The status code, the reason, and the fields at fault."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(request)
    status = rpc_status.from_call(raised.value)  # type: ignore[arg-type] - the error has what a call has
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status is not None
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(fields)
    return raised.value.code(), info.reason, [violation.field for violation in fields.field_violations]


async def test_an_order_is_reserved_and_released(stub: Any, driver: Driver, order_id: str) -> None:
    sku = await driver.article(5)
    lines = [ReservationLine(sku=sku, quantity=2)]

    held = await stub.ReserveStock(rpc.ReserveStockRequest(order_id=order_id, lines=lines))
    shown = await stub.GetStock(rpc.GetStockRequest(sku=sku))
    read = await stub.GetReservation(rpc.GetReservationRequest(order_id=order_id))
    released = await stub.ReleaseStock(rpc.ReleaseStockRequest(order_id=order_id))

    assert (held.state, released.state) == (Reservation.HELD, Reservation.RELEASED)
    assert read == held
    assert (shown.available, shown.held) == (3, 2)


async def test_a_reservation_is_one_span_with_its_statements_and_its_event(
    stub: Any, driver: Driver, spans: Spans, order_id: str
) -> None:
    """The relay and the order service go on below the event's span; each span is found by the order."""
    sku = await driver.article(5)
    spans.clear()

    await stub.ReserveStock(rpc.ReserveStockRequest(order_id=order_id, lines=[ReservationLine(sku=sku, quantity=2)]))

    method = "shop.inventory.v1.InventoryService/ReserveStock"
    [work] = [span for span in spans.named(method) if span.kind is SpanKind.SERVER]
    assert [span.name for span in spans.all() if is_child(span, work)] == [
        "INSERT reservations",
        "UPDATE stock",
        "create inventory.events StockReserved",
    ]
    assert attributes(work)["shop.reservation.outcome"] == "HELD"
    assert attributes(work)["code.function.name"] == "services.inventory.handlers.reserve_stock"
    assert all(attributes(span)["shop.order.id"] == order_id for span in spans.all())


async def test_a_refused_order_is_an_answer(stub: Any, spans: Spans, order_id: str) -> None:
    """gRPC says OK and no span says error: nothing went wrong."""
    lines = [ReservationLine(sku="sold-out", quantity=1)]
    answer = await stub.ReserveStock(rpc.ReserveStockRequest(order_id=order_id, lines=lines))
    assert answer.state == Reservation.REFUSED
    assert {span.status.status_code for span in spans.all()} == {StatusCode.UNSET}


async def test_the_shelf_is_restocked_and_listed(stub: Any, driver: Driver) -> None:
    sku = await driver.article(1)
    restocked = await stub.Restock(rpc.RestockRequest(sku=sku, quantity=9, request_id="monday"))
    page = await stub.ListStock(rpc.ListStockRequest(page_size=2))
    assert restocked.available == 10
    assert len(page.items) == 2


def reserve(order_id: str, /, **quantities: int) -> rpc.ReserveStockRequest:
    lines = [ReservationLine(sku=sku, quantity=quantity) for sku, quantity in quantities.items()]
    return rpc.ReserveStockRequest(order_id=order_id, lines=lines)


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("ReserveStock", reserve("not-a-uuid", beans=1), "order_id"),
        ("ReserveStock", reserve(ORDER_ID), "lines"),
        ("ReserveStock", reserve(ORDER_ID, beans=1, grinder=0), "lines[1].quantity"),
        ("ReserveStock", reserve(ORDER_ID, beans=10_001), "lines[0].quantity"),
        ("ReserveStock", reserve(ORDER_ID, Beans=1), "lines[0].sku"),
        ("ReserveStock", reserve(ORDER_ID, **{f"article-{number}": 1 for number in range(101)}), "lines"),
        (
            "ReserveStock",
            rpc.ReserveStockRequest(order_id=ORDER_ID, lines=[ReservationLine(sku="beans", quantity=1)] * 2),
            "lines",
        ),
        ("ReleaseStock", rpc.ReleaseStockRequest(order_id=""), "order_id"),
        ("GetReservation", rpc.GetReservationRequest(order_id="not-a-uuid"), "order_id"),
        ("GetStock", rpc.GetStockRequest(sku=""), "sku"),
        ("GetStock", rpc.GetStockRequest(sku="x" * 65), "sku"),
        ("ListStock", rpc.ListStockRequest(page_size=101), "page_size"),
        ("ListStock", rpc.ListStockRequest(page_size=-1), "page_size"),
        ("ListStock", rpc.ListStockRequest(page_token="x" * 257), "page_token"),
        ("ListStock", rpc.ListStockRequest(page_token="nonsense!"), "page_token"),
        ("Restock", rpc.RestockRequest(sku="beans", quantity=0, request_id="a"), "quantity"),
        ("Restock", rpc.RestockRequest(sku="beans", quantity=1_000_001, request_id="a"), "quantity"),
        ("Restock", rpc.RestockRequest(sku="beans", quantity=1), "request_id"),
        ("Restock", rpc.RestockRequest(sku="beans", quantity=1, request_id="x" * 129), "request_id"),
        ("Restock", rpc.RestockRequest(sku="beans", quantity=1, request_id="a b"), "request_id"),
    ],
)
async def test_a_broken_rule_is_refused_by_the_name_of_its_field(
    stub: Any, driver: Driver, method: str, request_: object, field: str
) -> None:
    code, _, fields = await refusal(getattr(stub, method), request_)
    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    assert await driver.state(ORDER_ID) is None


@pytest.mark.parametrize("sku", ["no-such", "nul\0"])
async def test_an_unknown_article_is_not_found(stub: Any, sku: str) -> None:
    expected = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", ["sku"])
    assert await refusal(stub.GetStock, rpc.GetStockRequest(sku=sku)) == expected
    assert await refusal(stub.Restock, rpc.RestockRequest(sku=sku, quantity=1, request_id="a")) == expected


async def test_an_order_without_a_reservation_is_not_found(stub: Any, order_id: str) -> None:
    expected = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", ["order_id"])
    assert await refusal(stub.GetReservation, rpc.GetReservationRequest(order_id=order_id)) == expected


async def test_a_reused_request_id_is_refused(stub: Any, driver: Driver) -> None:
    sku = await driver.article(1)
    await stub.Restock(rpc.RestockRequest(sku=sku, quantity=1, request_id="monday"))
    assert await refusal(stub.Restock, rpc.RestockRequest(sku=sku, quantity=2, request_id="monday")) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "IDEMPOTENCY_KEY_REUSED",
        ["request_id"],
    )


async def test_releasing_what_was_shipped_is_refused_for_good(stub: Any, driver: Driver) -> None:
    """Not a code that the sender would retry."""
    sku, order_id = await driver.article(1), str(uuid7())
    await driver.reserve(order_id, {sku: 1})
    await driver.confirmed(order_id)
    assert await refusal(stub.ReleaseStock, rpc.ReleaseStockRequest(order_id=order_id)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "WRONG_STATE",
        [],
    )
