"""Handlers against a real PostgreSQL: what each leaves in the tables, and what it promises to send."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from shop.inventory.v1.inventory_events_pb2 import ReservationRefused, StockReleased, StockReserved
from shop.money.v1.money_pb2 import Money
from shop.order.v1.order_pb2 import Order, OrderLine
from shop.order.v1.order_service_pb2 import ListOrdersRequest, ListSagasRequest, PlaceOrderRequest
from shop.payment.v1.payment_events_pb2 import PaymentCharged, PaymentDeclined, PaymentRefunded, PaymentVoided
from shop.payment.v1.payment_service_pb2 import ChargePaymentRequest
from uuid_utils.compat import uuid7

from chassis import dispatcher, telemetry
from chassis.database import Database, Sql
from chassis.errors import Invalid, KeyReused, NotFound, WrongState
from chassis.messages import Envelope
from chassis.telemetry import TraceContext
from chassis.testing import Spans, attributes, context, figure, is_child, linked, served, traceparent
from services.order import handlers, orders, timeline
from services.order.__main__ import subscription
from services.order.deadlines import Deadlines
from services.order.settings import OrderSettings

TOTAL = Money(amount_minor=2400, currency_code="EUR")


class Shop:
    """The order service's handlers, each in its own unit of work."""

    def __init__(self, database: Database, settings: OrderSettings) -> None:
        self.database, self.settings = database, settings

    async def place(self, **changes: Any) -> Order:
        request = PlaceOrderRequest(
            customer_id=changes.get("customer_id", "ada"),
            card_token="tok_visa",
            request_id=changes.get("request_id", str(uuid7())),
            lines=[OrderLine(sku="espresso-beans", quantity=changes.get("quantity", 2))],
        )
        return await served(self.database, handlers.place_order, request, self.settings)

    async def hear(self, event: Any, source: str = "inventory", sequence: int = 1) -> None:
        envelope = Envelope(
            uuid7(),
            event.DESCRIPTOR.full_name,
            source,
            event.order_id,
            datetime.now(UTC),
            sequence,
            TraceContext(),
            b"",
        )
        await served(self.database, handlers.advance_saga, event, envelope, self.settings)

    async def reserved(self) -> str:
        order_id = (await self.place()).order_id
        await self.hear(StockReserved(order_id=order_id, total=TOTAL))
        return order_id

    async def confirmed(self) -> str:
        order_id = await self.reserved()
        await self.hear(PaymentCharged(order_id=order_id), "payment")
        return order_id

    async def order(self, order_id: str) -> Order:
        async with self.database.single() as once:
            return await orders.get_order(once, order_id)

    async def rows(self, table: str, order_id: str) -> list[Any]:
        column = {"outbox": "subject", "command_outbox": "saga_id"}.get(table, "order_id")
        async with self.database.single() as once:
            return list(
                await once.all(Sql(f"SELECT {table}", f"SELECT * FROM {table} WHERE {column} = :id"), id=order_id)
            )

    async def published(self, order_id: str) -> list[tuple[int, str]]:
        rows = sorted(await self.rows("outbox", order_id), key=lambda row: row.sequence)
        return [(row.sequence, row.type.rsplit(".", 1)[1]) for row in rows]

    async def sent(self, order_id: str) -> set[str]:
        return {row.method.rsplit("/", 1)[1] for row in await self.rows("command_outbox", order_id)}

    async def step(self, order_id: str) -> str:
        return (await self.rows("sagas", order_id))[0].step

    async def wait_out(self, order_id: str, seconds: float = 0.0) -> None:
        """Let the saga's deadline pass now, its step having begun so long ago."""
        deadline_at = await self.let_pass(order_id, seconds)
        await served(self.database, handlers.pass_deadline, order_id, deadline_at, self.settings)

    async def let_pass(self, order_id: str, seconds: float = 0.0) -> datetime:
        """The deadline is now, and nobody has told the saga; returns the deadline."""
        sql = Sql(
            "UPDATE sagas",
            """UPDATE sagas SET deadline_at = clock_timestamp(),
               step_at = clock_timestamp() - make_interval(secs => :seconds) WHERE order_id = :id
               RETURNING deadline_at""",
        )
        async with self.database.single() as once:
            row = await once.first(sql, id=order_id, seconds=seconds)
        assert row is not None
        return row.deadline_at

    async def deliver(self, order_id: str) -> None:
        """The dispatcher's part: every command was accepted, and is forgotten."""
        sql = Sql("DELETE command_outbox", "DELETE FROM command_outbox WHERE saga_id = :id")
        async with self.database.single() as once:
            await once.run(sql, id=order_id)

    async def due(self, order_id: str) -> set[str]:
        """The commands that the dispatcher would take now."""
        sql = Sql(
            "SELECT command_outbox",
            "SELECT step FROM command_outbox WHERE saga_id = :id AND next_attempt_at <= clock_timestamp()",
        )
        async with self.database.single() as once:
            return {row.step for row in await once.all(sql, id=order_id)}


@pytest.fixture
def shop(database: Database, settings: OrderSettings) -> Shop:
    return Shop(database, settings)


async def test_placing_an_order_promises_an_event_and_a_command(shop: Shop) -> None:
    """One transaction: the order, its saga, its first timeline entry, OrderPlaced and ReserveStock."""
    order = await shop.place()
    assert order.status == Order.PENDING
    # The first answer is rebuilt for a repeated request, so both are one reading of the clock.
    assert order.update_time == order.create_time
    assert UUID(order.order_id).version == 7
    assert await shop.published(order.order_id) == [(1, "OrderPlaced")]
    assert await shop.sent(order.order_id) == {"ReserveStock"}
    assert await shop.step(order.order_id) == "RESERVING_STOCK"
    assert [row.event for row in await shop.rows("order_timeline", order.order_id)] == ["shop.order.v1.OrderPlaced"]


async def test_the_same_request_gets_the_same_answer_whatever_became_of_the_order(shop: Shop) -> None:
    """Idempotent POST: one order, one answer, also after the order has moved on."""
    request_id = str(uuid7())
    first = await shop.place(request_id=request_id)
    await shop.hear(ReservationRefused(order_id=first.order_id, reason=ReservationRefused.OUT_OF_STOCK))
    assert await shop.place(request_id=request_id) == first
    assert (await shop.order(first.order_id)).status == Order.REJECTED


async def test_a_repeated_request_is_traced_under_the_id_of_its_order(shop: Shop, spans: Spans) -> None:
    """The id that was made up for it names no order; only the statement that offered it has it."""
    request_id = str(uuid7())
    order_id = (await shop.place(request_id=request_id)).order_id
    first = spans.one("place_order")
    spans.clear()
    await shop.place(request_id=request_id)
    repeat = spans.one("place_order")
    assert attributes(repeat)[telemetry.ORDER_ID] == order_id
    assert linked(repeat) == {context(first).span_id}
    assert telemetry.ORDER_ID not in attributes(spans.one("SELECT orders"))


async def test_the_same_key_with_other_content_is_refused(shop: Shop) -> None:
    """A key belongs to the content it was first used with."""
    request_id = str(uuid7())
    await shop.place(request_id=request_id)
    with pytest.raises(KeyReused):
        await shop.place(request_id=request_id, quantity=3)


async def test_two_customers_may_use_the_same_key(shop: Shop) -> None:
    """A key is scoped to its caller."""
    request_id = str(uuid7())
    ada = await shop.place(request_id=request_id)
    bob = await shop.place(request_id=request_id, customer_id="bob")
    assert ada.order_id != bob.order_id


async def test_reserved_stock_sends_the_charge_with_inventorys_total(shop: Shop) -> None:
    """The amount comes from inventory's prices; the card token leaves the saga with the command."""
    order_id = await shop.reserved()
    charge = next(row for row in await shop.rows("command_outbox", order_id) if "ChargePayment" in row.method)
    assert ChargePaymentRequest.FromString(charge.payload) == ChargePaymentRequest(
        order_id=order_id, amount=TOTAL, card_token="tok_visa"
    )
    assert (await shop.rows("sagas", order_id))[0].card_token is None
    assert (await shop.order(order_id)).total == TOTAL


async def test_a_charged_payment_confirms_the_order(shop: Shop) -> None:
    """The pivot: status, event and timeline in one transaction."""
    order_id = await shop.confirmed()
    assert (await shop.order(order_id)).status == Order.CONFIRMED
    assert await shop.published(order_id) == [(1, "OrderPlaced"), (2, "OrderConfirmed")]
    async with shop.database.single() as once:
        entries = await timeline.get_order_timeline(once, order_id)
    assert [(entry.position, entry.event.rsplit(".", 1)[1], entry.service) for entry in entries] == [
        (1, "OrderPlaced", "order"),
        (2, "StockReserved", "inventory"),
        (3, "PaymentCharged", "payment"),
        (4, "OrderConfirmed", "order"),
    ]
    assert [entry.status for entry in entries] == [Order.PENDING, Order.PENDING, Order.CONFIRMED, Order.CONFIRMED]


async def test_a_declined_payment_releases_the_stock_and_rejects(shop: Shop) -> None:
    """The compensation is sent first; the order is rejected once the stock is free."""
    order_id = await shop.reserved()
    await shop.hear(PaymentDeclined(order_id=order_id), "payment")
    assert "ReleaseStock" in await shop.sent(order_id)
    assert (await shop.order(order_id)).status == Order.PENDING
    await shop.hear(StockReleased(order_id=order_id))
    order = await shop.order(order_id)
    assert (order.status, order.reason) == (Order.REJECTED, Order.PAYMENT_DECLINED)
    assert await shop.published(order_id) == [(1, "OrderPlaced"), (2, "OrderRejected")]


async def test_starting_a_compensation_withdraws_the_forward_commands(shop: Shop) -> None:
    """A command not delivered yet must not be delivered after its undoing has begun."""
    order_id = (await shop.place()).order_id
    await shop.wait_out(order_id)
    assert await shop.sent(order_id) == {"ReleaseStock"}
    assert await shop.step(order_id) == "RELEASING_STOCK"


async def test_a_deadline_that_moved_on_is_not_passed(shop: Shop) -> None:
    """The timer judges again under the lock: what was due when it looked may not be any more."""
    order_id = (await shop.place()).order_id
    deadline_at = await shop.let_pass(order_id)
    await shop.hear(StockReserved(order_id=order_id, total=TOTAL))
    with pytest.raises(handlers.Superseded):
        await served(shop.database, handlers.pass_deadline, order_id, deadline_at, shop.settings)
    assert await shop.step(order_id) == "CHARGING_PAYMENT"


async def test_a_compensation_is_sent_again_and_at_last_parked(shop: Shop) -> None:
    """Past park_after the saga waits for an operator, without a deadline, and says since when."""
    order_id = await shop.reserved()
    await shop.wait_out(order_id)
    await shop.deliver(order_id)
    await shop.wait_out(order_id, 20)
    row = (await shop.rows("sagas", order_id))[0]
    assert (row.step, row.attempt, row.parked_at) == ("REFUNDING_PAYMENT", 2, None)
    assert await shop.due(order_id) == {"refund_payment"}
    await shop.wait_out(order_id, shop.settings.park_after_seconds)
    row = (await shop.rows("sagas", order_id))[0]
    assert row.parked_at is not None
    assert row.deadline_at is None


async def test_retrying_a_parked_saga_sends_its_command_again(shop: Shop) -> None:
    """An operator's retry clears the parking and gives out the command under its id, though it was accepted before."""
    order_id = await shop.reserved()
    await shop.wait_out(order_id)
    (refund,) = await shop.rows("command_outbox", order_id)
    await shop.deliver(order_id)
    await shop.wait_out(order_id, shop.settings.park_after_seconds)
    assert await shop.due(order_id) == set()
    saga = await served(shop.database, handlers.retry_saga, order_id, shop.settings)
    assert not saga.HasField("park_time")
    assert saga.HasField("deadline")
    assert await shop.due(order_id) == {"refund_payment"}
    assert [row.id for row in await shop.rows("command_outbox", order_id)] == [refund.id]
    with pytest.raises(WrongState):
        await served(shop.database, handlers.retry_saga, order_id, shop.settings)


async def test_the_awaited_event_still_moves_a_parked_saga(shop: Shop) -> None:
    """Parked is a mark, not a step."""
    order_id = await shop.reserved()
    await shop.wait_out(order_id)
    await shop.wait_out(order_id, shop.settings.park_after_seconds)
    await shop.hear(PaymentRefunded(order_id=order_id), "payment")
    row = (await shop.rows("sagas", order_id))[0]
    assert (row.step, row.parked_at) == ("RELEASING_STOCK", None)


@pytest.mark.parametrize("event", [PaymentVoided, PaymentRefunded])
async def test_a_payment_that_was_undone_turns_a_charging_saga_back(shop: Shop, event: Any) -> None:
    """By hand, or because the card network did something else: the goods stay, and nobody is confirmed unpaid."""
    order_id = await shop.reserved()
    await shop.hear(event(order_id=order_id), "payment")
    assert await shop.step(order_id) == "RELEASING_STOCK"
    await shop.hear(StockReleased(order_id=order_id))
    order = await shop.order(order_id)
    assert (order.status, order.reason) == (Order.REJECTED, Order.PAYMENT_REFUSED)


async def test_a_retry_frees_a_saga_that_heard_of_its_refund_too_early(shop: Shop) -> None:
    """Payment tells the outcome again under the id that it had, which the inbox knows: it is on the timeline."""
    order_id = (await shop.place()).order_id
    await shop.hear(PaymentVoided(order_id=order_id), "payment")
    await shop.hear(StockReserved(order_id=order_id, total=TOTAL))
    await shop.wait_out(order_id)
    await shop.wait_out(order_id, shop.settings.park_after_seconds)
    await served(shop.database, handlers.retry_saga, order_id, shop.settings)
    assert await shop.step(order_id) == "RELEASING_STOCK"
    await shop.hear(StockReleased(order_id=order_id))
    assert (await shop.order(order_id)).status == Order.REJECTED


async def test_a_retry_frees_a_saga_that_heard_of_its_release_too_early(shop: Shop) -> None:
    """Inventory was told to release by hand before it was asked to reserve."""
    order_id = (await shop.place()).order_id
    await shop.hear(StockReleased(order_id=order_id))
    await shop.wait_out(order_id)
    await shop.wait_out(order_id, shop.settings.park_after_seconds)
    await served(shop.database, handlers.retry_saga, order_id, shop.settings)
    assert (await shop.order(order_id)).status == Order.REJECTED
    assert await shop.published(order_id) == [(1, "OrderPlaced"), (2, "OrderRejected")]


async def test_a_command_refused_for_ever_turns_the_saga_back(shop: Shop) -> None:
    """The dispatcher's verdict is an event like any other."""
    order_id = await shop.reserved()
    refused = dispatcher.CommandRefused(order_id, "charge_payment", "INVALID_ARGUMENT: no")
    await served(shop.database, handlers.command_refused, refused, shop.settings)
    assert await shop.step(order_id) == "REFUNDING_PAYMENT"
    assert "RefundPayment" in await shop.sent(order_id)


async def test_cancelling_a_pending_order_undoes_it_and_then_says_so(shop: Shop) -> None:
    """Orchestration: the saga undoes its own work before it publishes OrderCancelled."""
    order_id = (await shop.place()).order_id
    order = await served(shop.database, handlers.cancel_order, order_id, shop.settings)
    assert order.status == Order.PENDING
    await shop.hear(StockReleased(order_id=order_id))
    order = await shop.order(order_id)
    assert (order.status, order.reason) == (Order.CANCELLED, Order.CANCELLED_BY_CUSTOMER)
    assert await shop.published(order_id) == [(1, "OrderPlaced"), (2, "OrderCancelled")]


async def test_cancelling_a_confirmed_order_leaves_the_undoing_to_those_who_hold_something(shop: Shop) -> None:
    """Choreography: the event is all; no command is sent."""
    order_id = await shop.confirmed()
    before = await shop.sent(order_id)
    order = await served(shop.database, handlers.cancel_order, order_id, shop.settings)
    assert (order.status, order.reason) == (Order.CANCELLED, Order.CANCELLED_BY_CUSTOMER)
    assert await shop.published(order_id) == [(1, "OrderPlaced"), (2, "OrderConfirmed"), (3, "OrderCancelled")]
    assert await shop.sent(order_id) == before
    await shop.hear(PaymentRefunded(order_id=order_id), "payment")
    again = await served(shop.database, handlers.cancel_order, order_id, shop.settings)
    assert again.status == Order.CANCELLED
    assert len(await shop.published(order_id)) == 3


async def test_a_rejected_order_cannot_be_cancelled(shop: Shop) -> None:
    """There is nothing left to cancel."""
    order_id = (await shop.place()).order_id
    await shop.hear(ReservationRefused(order_id=order_id, reason=ReservationRefused.UNKNOWN_SKU))
    with pytest.raises(WrongState):
        await served(shop.database, handlers.cancel_order, order_id, shop.settings)


async def test_a_late_success_is_itself_undone(shop: Shop) -> None:
    """What a rejected order never confirmed is given back, however late it is heard of."""
    order_id = (await shop.place()).order_id
    await shop.hear(ReservationRefused(order_id=order_id, reason=ReservationRefused.OUT_OF_STOCK))
    await shop.hear(PaymentCharged(order_id=order_id), "payment")
    assert "RefundPayment" in await shop.sent(order_id)
    assert (await shop.order(order_id)).status == Order.REJECTED


@pytest.mark.parametrize("event", [StockReserved, PaymentCharged])
async def test_what_was_taken_for_an_unknown_order_is_a_fault(shop: Shop, event: Any) -> None:
    """It is not applied and not forgotten: it goes the way of a failing message, and somebody has to look."""
    with pytest.raises(NotFound):
        await shop.hear(event(order_id=str(uuid7())))


@pytest.mark.parametrize("event", [ReservationRefused, StockReleased, PaymentDeclined, PaymentRefunded])
async def test_that_nothing_is_taken_for_an_unknown_order_changes_nothing(shop: Shop, spans: Spans, event: Any) -> None:
    """Such as the answer to an operator's own ReleaseStock: it is counted, and noted on the span."""
    order_id, name = str(uuid7()), event.DESCRIPTOR.name
    before = figure("shop.saga.unknown_orders", event=name) or 0
    await shop.hear(event(order_id=order_id))
    assert figure("shop.saga.unknown_orders", event=name) == before + 1
    assert attributes(spans.one("advance_saga"))["shop.saga.awaited"] is False
    tables = ("orders", "sagas", "order_timeline", "outbox", "command_outbox")
    assert [await shop.rows(table, order_id) for table in tables] == [[]] * 5


async def test_orders_are_listed_newest_first_page_by_page(shop: Shop) -> None:
    """Pages join without a gap or a repeat, and a wrong token names its field."""
    customer = f"lister-{uuid7()}"
    placed = [(await shop.place(customer_id=customer)).order_id for _ in range(5)]
    found: list[str] = []
    token = ""
    for size in (2, 2, 1):
        async with shop.database.single() as once:
            page = await orders.list_orders(
                once, ListOrdersRequest(customer_id=customer, page_size=2, page_token=token)
            )
        assert len(page.orders) == size
        found += [order.order_id for order in page.orders]
        token = page.next_page_token
    assert token == ""
    assert found == sorted(placed, reverse=True)
    async with shop.database.single() as once:
        with pytest.raises(Invalid) as refused:
            await orders.list_orders(once, ListOrdersRequest(page_token="nonsense"))
    assert refused.value.field == "page_token"


async def test_parked_sagas_are_listed_for_the_operator(shop: Shop) -> None:
    """An operator finds what waits for them."""
    order_id = await shop.reserved()
    await shop.wait_out(order_id)
    await shop.wait_out(order_id, shop.settings.park_after_seconds)
    async with shop.database.single() as once:
        page = await orders.list_sagas(once, ListSagasRequest(parked=True, page_size=100))
    async with shop.database.single() as once:
        assert await orders.get_saga(once, order_id) in page.sagas
    assert all(saga.HasField("park_time") for saga in page.sagas)


async def test_a_gap_and_a_late_version_are_noted_and_applied(shop: Shop, spans: Spans) -> None:
    """Versions count per source: what comes after a gap, or after a later one, is told on its span and still heard."""
    order_id = (await shop.place()).order_id
    spans.clear()
    await shop.hear(StockReserved(order_id=order_id, total=TOTAL), sequence=1)
    await shop.hear(PaymentCharged(order_id=order_id), "payment", sequence=2)
    await shop.hear(PaymentDeclined(order_id=order_id), "payment", sequence=1)
    noted = [attributes(span).get("shop.event.order") for span in spans.named("advance_saga")]
    assert noted == [None, "gap", "late"]
    assert (await shop.order(order_id)).status == Order.CONFIRMED
    async with shop.database.single() as once:
        assert len(await timeline.get_order_timeline(once, order_id)) == 5


async def test_an_event_that_came_late_is_counted_and_noted_on_its_span(shop: Shop, spans: Spans) -> None:
    """Nobody waited for it, so nothing else would tell that it came; what was awaited is not mentioned."""
    before = figure("shop.saga.unawaited") or 0.0
    late = figure("shop.saga.unawaited", step="REJECTED", event="StockReserved") or 0.0
    order_id = (await shop.place()).order_id
    await shop.hear(ReservationRefused(order_id=order_id, reason=ReservationRefused.OUT_OF_STOCK))
    await shop.hear(StockReserved(order_id=order_id, total=TOTAL), sequence=2)
    assert [attributes(span).get("shop.saga.awaited") for span in heard(spans)] == [None, False]
    assert figure("shop.saga.unawaited", step="REJECTED", event="StockReserved") == late + 1
    assert figure("shop.saga.unawaited") == before + 1


def heard(spans: Spans) -> list[ReadableSpan]:
    return [span for span in spans.all() if span.name.startswith("saga heard ")]


async def cancel(shop: Shop) -> str:
    order_id = (await shop.place()).order_id
    await served(shop.database, handlers.cancel_order, order_id, shop.settings)
    return order_id


async def cancel_confirmed(shop: Shop) -> str:
    order_id = await shop.confirmed()
    await served(shop.database, handlers.cancel_order, order_id, shop.settings)
    return order_id


async def retry(shop: Shop) -> str:
    order_id = (await shop.place()).order_id
    refused = dispatcher.CommandRefused(order_id, "reserve_stock", "INVALID_ARGUMENT")
    await served(shop.database, handlers.command_refused, refused, shop.settings)
    refused = dispatcher.CommandRefused(order_id, "release_stock", "INVALID_ARGUMENT")
    await served(shop.database, handlers.command_refused, refused, shop.settings)
    await served(shop.database, handlers.retry_saga, order_id, shop.settings)
    return order_id


@pytest.mark.parametrize(
    ("happens", "cause", "step"),
    [
        (cancel, "cancel_order", "saga cancel"),
        (cancel_confirmed, "cancel_order", "cancel confirmed order"),
        (retry, "retry_saga", "saga retry"),
    ],
)
async def test_what_is_begun_from_outside_belongs_to_the_orders_trace_and_links_to_its_cause(
    shop: Shop, spans: Spans, happens: Callable[[Shop], Awaitable[str]], cause: str, step: str
) -> None:
    """A customer and an operator have traces of their own; what they begin is found in the order's."""
    order_id = await happens(shop)
    begun, placed, request = spans.one(step), spans.one("place_order"), spans.one(cause)
    assert is_child(begun, placed)
    assert linked(begun) == {context(request).span_id}
    assert linked(request) == {context(placed).span_id}
    assert attributes(begun)[telemetry.ORDER_ID] == order_id


async def test_what_is_begun_much_later_has_a_trace_of_its_own(shop: Shop, spans: Spans) -> None:
    """So that the order's is not drawn as a sliver before a long silence; what follows from it stays there too."""
    order_id = await shop.confirmed()
    spans.clear()
    late = shop.settings.model_copy(update={"story_seconds": 0.0})
    order = await shop.order(order_id)
    await served(shop.database, handlers.cancel_order, order_id, late)
    await shop.hear(PaymentRefunded(order_id=order_id), "payment", sequence=2)
    begun, request = spans.one("cancel confirmed order"), spans.one("cancel_order")
    assert is_child(begun, request)
    assert is_child(spans.one("saga heard PaymentRefunded"), request)
    assert {link.context.trace_id for link in begun.links} == {int(order.trace_id, 16)}
    async with shop.database.single() as once:
        entries = await timeline.get_order_timeline(once, order_id)
    assert {entry.trace_id for entry in entries} == {order.trace_id, f"{context(request).trace_id:032x}"}


async def test_a_timer_stays_in_the_orders_trace_however_late(shop: Shop, spans: Spans) -> None:
    """Nobody asked for anything: the order itself goes on."""
    settings = shop.settings.model_copy(update={"story_seconds": 0.0})
    order_id = (await shop.place()).order_id
    placed = spans.one("place_order")
    deadline_at = await shop.let_pass(order_id)
    [row] = await shop.rows("sagas", order_id)
    assert row.deadline_at == deadline_at
    await Deadlines(shop.database, settings, asyncio.Event()).pass_due(row)
    assert is_child(spans.one("saga deadline"), placed)
    [command] = await shop.rows("command_outbox", order_id)
    assert command.traceparent == traceparent(placed)


async def test_the_timeline_says_what_only_the_saga_knows(shop: Shop) -> None:
    """A deadline with its limit, a turn back with its reason, a command that was held back."""
    order_id = (await shop.place()).order_id
    await shop.wait_out(order_id)
    async with shop.database.single() as once:
        entries = await timeline.get_order_timeline(once, order_id)
    said = {entry.event.rpartition(".")[2]: entry.detail for entry in entries}
    assert said == {
        "OrderPlaced": "",
        "DeadlinePassed": "RESERVING_STOCK: no answer within 20 s",
        "TurnedBack": "RESERVATION_TIMED_OUT",
        "HeldBack": "reserve_stock: it was not delivered yet",
    }


async def test_a_forward_step_that_waited_longer_than_compensations_may_names_its_own_limit(shop: Shop) -> None:
    """How long an operator's help is waited for is a limit of compensations alone."""
    order_id = await shop.reserved()
    await shop.wait_out(order_id, shop.settings.park_after_seconds)
    async with shop.database.single() as once:
        entries = await timeline.get_order_timeline(once, order_id)
    said = {entry.event.rpartition(".")[2]: entry.detail for entry in entries}
    assert said["DeadlinePassed"] == "CHARGING_PAYMENT: no answer within 30 s"
    assert "Parked" not in said


async def test_a_parked_and_a_retried_saga_and_a_refused_command_are_said(shop: Shop) -> None:
    """What an operator looks for stands on the timeline too."""
    order_id = await retry(shop)
    async with shop.database.single() as once:
        entries = await timeline.get_order_timeline(once, order_id)
    said = [(entry.event.rpartition(".")[2], entry.detail) for entry in entries if ".Saga." in entry.event]
    assert ("Retried", "RELEASING_STOCK") in said
    assert ("Parked", "RELEASING_STOCK") in said
    assert [name for name, _ in said].count("CommandRefused") == 2


async def test_each_turn_of_a_saga_is_one_line_of_the_log(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Once it is committed, with the order and its trace; the last one says how it ended."""
    order_id = await shop.confirmed()
    lines = [line for line in capsys.readouterr().out.splitlines() if order_id in line]
    trace_id = (await shop.order(order_id)).trace_id
    assert ["the saga has ended" in line for line in lines] == [False, True]
    assert ["StockReserved" in lines[0], "PaymentCharged" in lines[1]] == [True, True]
    assert all(trace_id in line for line in lines)


def test_every_event_of_the_participants_is_handled_or_ignored_on_purpose(settings: OrderSettings) -> None:
    """An event that inventory or payment publishes and this table forgets would be poison."""
    heard = subscription(settings)
    published = {
        "inventory.events": StockReserved.DESCRIPTOR.file,
        "payment.events": PaymentCharged.DESCRIPTOR.file,
    }
    assert set(heard.topics) == published.keys()
    assert {event.DESCRIPTOR.full_name for event in (*heard.handlers, *heard.ignored)} == {
        event.full_name for file in published.values() for event in file.message_types_by_name.values()
    }
