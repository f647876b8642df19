"""What stands on the shelf: reading it, adding to it, and moving what reservations hold."""

import hashlib
from collections.abc import Sequence

from shop.inventory.v1 import inventory_service_pb2 as rpc
from shop.inventory.v1.inventory_pb2 import StockItem

from chassis import paging
from chassis.database import Row, Sql, Transaction
from chassis.errors import Invalid, KeyReused, NotFound
from services.inventory import model

# What each piece of a reservation does to (available, held) when the reservation reaches this state.
_EFFECTS = {"RELEASED": (1, -1), "SHIPPED": (0, -1), "RETURNED": (1, 0)}

_GET = Sql("SELECT stock", "SELECT * FROM stock WHERE sku = :sku")
_LIST = Sql("SELECT stock", "SELECT * FROM stock WHERE sku > :after ORDER BY sku LIMIT :limit")
# Only what claims the request adds; the claim and the effect share their fate.
_ADD = Sql(
    "UPDATE stock",
    """
    WITH claimed AS (
        INSERT INTO restocks (sku, request_id, request_fingerprint)
        SELECT sku, :request_id, :fingerprint FROM stock WHERE sku = :sku
        ON CONFLICT DO NOTHING
        RETURNING sku
    )
    UPDATE stock SET available = available + :quantity FROM claimed WHERE stock.sku = claimed.sku RETURNING stock.*
    """,
)
_ANSWER = Sql("UPDATE restocks", "UPDATE restocks SET answer = :answer WHERE sku = :sku AND request_id = :request_id")
_ANSWERED = Sql("SELECT restocks", "SELECT * FROM restocks WHERE sku = :sku AND request_id = :request_id")
# Sums first, so that orders which share a transaction and an article change its row once.
_MOVE = Sql(
    "UPDATE stock",
    """
    WITH moved AS (
        SELECT sku, sum(available) AS available, sum(held) AS held
        FROM unnest(CAST(:skus AS text[]), CAST(:available AS bigint[]), CAST(:held AS bigint[]))
             AS effect (sku, available, held)
        GROUP BY sku
    ), locked AS (
        SELECT stock.sku, moved.available, moved.held FROM stock JOIN moved ON moved.sku = stock.sku
        ORDER BY stock.sku
        FOR NO KEY UPDATE OF stock
    )
    UPDATE stock SET available = stock.available + locked.available, held = stock.held + locked.held
    FROM locked WHERE stock.sku = locked.sku
    """,
)


async def get_stock(transaction: Transaction, request: rpc.GetStockRequest) -> StockItem:
    """One article.

    Raises:
        NotFound: nothing is sold under that name.
    """
    row = await transaction.first(_GET, sku=_sold(request.sku))
    if row is None:
        raise _unknown(request.sku)
    return model.stock_item(row)


async def list_stock(transaction: Transaction, request: rpc.ListStockRequest) -> rpc.ListStockResponse:
    """A page of articles, by name.

    Raises:
        Invalid: the page token is not one of ours.
    """
    place, size = paging.place(request.page_token, 1), paging.size(request.page_size)
    after = place[0] if place else ""
    if place and not model.SKU.fullmatch(after):
        raise Invalid("not a page token of this list", field="page_token")
    rows = await transaction.all(_LIST, after=after, limit=size + 1)
    page = [model.stock_item(row) for row in rows[:size]]
    return rpc.ListStockResponse(items=page, next_page_token=paging.token(page[-1].sku) if len(rows) > size else "")


async def restock(transaction: Transaction, request: rpc.RestockRequest) -> StockItem:
    """Put more of an article on the shelf; a repeated request gets the first one's answer.

    Raises:
        NotFound: nothing is sold under that name; the request's id stays unused.
        KeyReused: the request's id came with another quantity before.
    """
    sku, request_id, fingerprint = _sold(request.sku), request.request_id, _fingerprint(request)
    added = await transaction.first(
        _ADD, sku=sku, request_id=request_id, fingerprint=fingerprint, quantity=request.quantity
    )
    if added is not None:
        item = model.stock_item(added)
        await transaction.run(_ANSWER, sku=sku, request_id=request_id, answer=item.SerializeToString())
        return item
    earlier = await transaction.first(_ANSWERED, sku=sku, request_id=request_id)
    if earlier is None:
        raise _unknown(sku)
    if earlier.request_fingerprint != fingerprint:
        raise KeyReused("this request_id came with another request before", field="request_id")
    return StockItem.FromString(earlier.answer)


def move(transaction: Transaction, lines: Sequence[Row], state: str) -> None:
    """Do to the stock what the lines' reservation does by reaching `state`, just before the commit.

    All that one transaction moves is moved by one statement, in the order of the articles: two transactions never wait
    for each other in a circle, and a row that every order wants is locked for as short as can be.
    """
    available, held = _EFFECTS[state]
    for line in lines:
        transaction.collect(_move, (line.sku, available * line.quantity, held * line.quantity))


async def _move(transaction: Transaction, rows: list[tuple[str, int, int]]) -> None:
    skus, available, held = zip(*rows, strict=True)
    await transaction.run(_MOVE, skus=list(skus), available=list(available), held=list(held))


def _sold(sku: str) -> str:
    """The name as it may stand in the database, which cannot even be asked for some strings (a NUL)."""
    if not model.SKU.fullmatch(sku):
        raise _unknown(sku)
    return sku


def _unknown(sku: str) -> NotFound:
    return NotFound(f"no article {sku!r}", field="sku")


def _fingerprint(request: rpc.RestockRequest) -> bytes:
    content = rpc.RestockRequest()
    content.CopyFrom(request)
    content.ClearField("request_id")
    return hashlib.sha256(content.SerializeToString(deterministic=True)).digest()
