"""The queries of the order service: one order, one saga, pages of each."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

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
_READ_SAGA = Sql("SELECT sagas", "SELECT * FROM sagas WHERE order_id = :order_id")

# Each choice of filters is a statement of its own, and has an index. Compared as a row, the filters and the place in
# the list are one stretch of that index, and no other index has its order: a column that is said to be equal could be
# left out of the order, and the planner might read another index and throw nearly all of it away.
_ABOVE_EVERY_ID = "g"
_BEFORE_EVERY_MOMENT = datetime(1, 1, 1, tzinfo=UTC)


def _list(*filters: str) -> Sql:
    """Orders that these columns choose, newest first."""
    columns, values = ", ".join((*filters, "order_id")), "".join(f":{name}, " for name in filters)
    order = ", ".join(f"{name} DESC" for name in (*filters, "order_id"))
    return Sql(
        "SELECT orders",
        f"""
        SELECT * FROM orders WHERE ({columns}) < ({values}:before) AND ({columns}) > ({values}'')
        ORDER BY {order} LIMIT :size
        """,  # noqa: S608 - the words are ours
    )


def _list_sagas(*, step: bool, parked: bool) -> Sql:
    """Sagas at a step, parked or not; those whose step began first, first."""
    column, value = ("step, ", ":step, ") if step else ("", "")
    return Sql(
        "SELECT sagas",
        f"""
        SELECT * FROM sagas
        WHERE {"parked_at IS NOT NULL" if parked else "true"}
          AND ({column}step_at, order_id) > ({value}:step_at, :order_id)
          AND ({column}step_at, order_id) < ({value}'infinity', '')
        ORDER BY {column}step_at, order_id LIMIT :size
        """,  # noqa: S608 - the words are ours
    )


_LIST: Mapping[tuple[str, ...], Sql] = {
    filters: _list(*filters) for filters in ((), ("customer_id",), ("status",), ("customer_id", "status"))
}
_LIST_SAGAS = {
    (step, parked): _list_sagas(step=step, parked=parked) for step in (False, True) for parked in (False, True)
}


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
    status = Order.Status.Name(request.status) if request.status else ""
    given = {name: value for name, value in (("customer_id", request.customer_id), ("status", status)) if value}
    before = _uuid(place[0]) if place else _ABOVE_EVERY_ID
    rows = await transaction.all(_LIST[tuple(given)], **given, before=before, size=size + 1)
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
    given = {"step": Saga.Step.Name(request.step)} if request.step else {}
    rows = await transaction.all(
        _LIST_SAGAS[bool(given), request.parked],
        **given,
        step_at=_moment(place[0]) if place else _BEFORE_EVERY_MOMENT,
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
