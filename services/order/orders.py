"""The queries of the order service: one order, one saga, pages of each."""

import uuid
from datetime import datetime

from shop.order.v1.order_pb2 import Order, Saga
from shop.order.v1.order_service_pb2 import (
    ListOrdersRequest,
    ListOrdersResponse,
    ListSagasRequest,
    ListSagasResponse,
)

from chassis import paging
from chassis.database import Sql, Transaction
from chassis.errors import Invalid, NotFound
from services.order import model

_READ = Sql("SELECT orders", "SELECT * FROM orders WHERE order_id = :order_id")
_LIST = Sql(
    "SELECT orders",
    """
    SELECT * FROM orders
    WHERE (:customer_id = '' OR customer_id = :customer_id) AND (:status = '' OR status = :status)
      AND (CAST(:before AS text) IS NULL OR order_id < :before)
    ORDER BY order_id DESC LIMIT :size
    """,
)
_READ_SAGA = Sql("SELECT sagas", "SELECT * FROM sagas WHERE order_id = :order_id")
_LIST_SAGAS = Sql(
    "SELECT sagas",
    """
    SELECT * FROM sagas
    WHERE (:step = '' OR step = :step) AND (NOT :parked OR parked_at IS NOT NULL)
      AND (CAST(:step_at AS timestamptz) IS NULL OR (step_at, order_id) > (:step_at, :order_id))
    ORDER BY step_at, order_id LIMIT :size
    """,
)


async def get_order(transaction: Transaction, order_id: str) -> Order:
    """One order.

    Raises:
        NotFound: no such order.
    """
    row = await transaction.first(_READ, order_id=order_id)
    if row is None:
        raise NotFound(f"order {order_id} does not exist")
    return model.order_message(row)


async def list_orders(transaction: Transaction, request: ListOrdersRequest) -> ListOrdersResponse:
    """A page of orders, newest first.

    Raises:
        Invalid: the page token is not one of this list.
    """
    place, size = paging.place(request.page_token, 1), paging.size(request.page_size)
    if place is not None:
        _uuid(place[0])
    rows = await transaction.all(
        _LIST,
        customer_id=request.customer_id,
        status=Order.Status.Name(request.status) if request.status else "",
        before=place[0] if place else None,
        size=size + 1,
    )
    page = [model.order_message(row) for row in rows[:size]]
    more = paging.token(page[-1].order_id) if len(rows) > size else ""
    return ListOrdersResponse(orders=page, next_page_token=more)


async def get_saga(transaction: Transaction, order_id: str) -> Saga:
    """The saga of one order.

    Raises:
        NotFound: no such order.
    """
    row = await transaction.first(_READ_SAGA, order_id=order_id)
    if row is None:
        raise NotFound(f"order {order_id} does not exist")
    return model.saga_message(row)


async def list_sagas(transaction: Transaction, request: ListSagasRequest) -> ListSagasResponse:
    """A page of sagas, those whose step began first, first.

    Raises:
        Invalid: the page token is not one of this list.
    """
    place, size = paging.place(request.page_token, 2), paging.size(request.page_size)
    rows = await transaction.all(
        _LIST_SAGAS,
        step=Saga.Step.Name(request.step) if request.step else "",
        parked=request.parked,
        step_at=_moment(place[0]) if place else None,
        order_id=_uuid(place[1]) if place else "",
        size=size + 1,
    )
    page = [model.saga_message(row) for row in rows[:size]]
    more = paging.token(rows[size - 1].step_at.isoformat(), rows[size - 1].order_id) if len(rows) > size else ""
    return ListSagasResponse(sagas=page, next_page_token=more)


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Invalid("not a page token of this list", field="page_token") from None


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("not a page token of this list", field="page_token") from None
