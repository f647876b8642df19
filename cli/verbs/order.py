"""`shop order`: place an order as a customer does, and look at what becomes of it."""

import asyncio
from typing import Any

import click

from cli.failures import Failure, Unknown
from cli.session import Session, runs
from cli.values import ORDER_ID, moment, money

Json = dict[str, Any]

STATUSES = ("PENDING", "CONFIRMED", "REJECTED", "CANCELLED")
CARDS = ("tok_visa", "tok_declined", "tok_slow", "tok_flaky", "tok_lost_answer", "tok_silent")
SHOWN = ("links", "attributes", "events")


@click.group(short_help="Place, show, list, cancel and watch orders; draw an order's trace.")
def command() -> None:
    """Orders: placed and cancelled as a customer does, through the gateway; read without leaving a trace."""


def _cards(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    return [card for card in CARDS if card.startswith(begun)]


@command.command(short_help="Place an order, as a customer.")
@click.option("--sku", default="espresso-beans", show_default=True, help="The article; `./shop stock` lists them.")
@click.option("--quantity", type=click.IntRange(1, 10_000), default=2, show_default=True, help="How many.")
@click.option(
    "--card", default=CARDS[0], show_default=True, shell_complete=_cards, help=f"The card: {', '.join(CARDS[1:])}."
)
@click.option("--customer", default="ada", show_default=True, help="Who orders.")
@click.option("--key", default="", help="The Idempotency-Key: who repeats one gets the first order again.")
@click.option("--watch", is_flag=True, help="Then follow its timeline until it is decided.")
@runs
async def place(session: Session, sku: str, quantity: int, card: str, customer: str, key: str, watch: bool) -> None:
    """Place an order: POST /v1/orders.

    It is accepted as PENDING; --watch shows what becomes of it, until it is confirmed, rejected or cancelled.
    """
    body = {"customerId": customer, "cardToken": card, "lines": [{"sku": sku, "quantity": quantity}]}
    order, trace_id = await (await session.rest()).post("/v1/orders", body, key)
    out, system = session.out, await session.system()
    page, drawn = system.page(trace_id), system.order_page(order["orderId"])

    def render(_: object) -> None:
        out.say(f"Order {order['orderId']} is {order['status']}.", "bold")
        out.say(f"Trace {page}")
        out.say(f"Drawn {drawn}")
        if not watch:
            out.say(f"What becomes of it: ./shop order watch {order['orderId']}")

    (out.line if watch else out.show)({**order, "page": drawn, "tracePage": page}, render)
    if watch:
        from cli.watching import watch as follow

        await out.while_read(follow(session, order["orderId"], until_decided=True))


@command.command(short_help="All that is known of an order.")
@click.argument("order_id", type=ORDER_ID)
@runs
async def show(session: Session, order_id: str) -> None:
    """All that is known of ORDER_ID: itself, its timeline, payment and reservation, and where its trace is."""
    rpc, request = await session.rpc(), {"orderId": order_id}
    order = await rpc.ask("order/GetOrder", request)
    timeline, payment, reservation = await asyncio.gather(
        rpc.ask("order/GetOrderTimeline", request),
        _part(session, "payment/GetPayment", order_id),
        _part(session, "inventory/GetReservation", order_id),
    )
    system = await session.system()
    data = {
        "order": order,
        "timeline": timeline["entries"],
        "payment": payment,
        "reservation": reservation,
        "tracePages": [system.page(each) for each in _trace_ids(order, timeline)],
    }
    session.out.show(data, lambda _: _show(session, data))


async def _part(session: Session, method: str, order_id: str) -> Json:
    """The payment or reservation; empty if there is none, and what is wrong where its service does not answer."""
    try:
        return await (await session.rpc()).ask(method, {"orderId": order_id})
    except Unknown:
        return {}
    except Failure as failure:
        return {"error": str(failure)}


def _trace_ids(order: Json, timeline: Json) -> list[str]:
    """The order's trace first, then those in which it went on much later."""
    return list(dict.fromkeys([order["traceId"], *(entry["traceId"] for entry in timeline["entries"])]))


def _show(session: Session, data: Json) -> None:
    from infra.local.drawing import timeline_table

    out, order = session.out, data["order"]
    reason = f", {order['reason']}" if "reason" in order else ""
    out.say(f"Order {order['orderId']}: {order['status']}{reason}", "bold")
    lines = ", ".join(f"{line['quantity']} {line['sku']}" for line in order["lines"])
    total = f", {money(order['total'])}" if order.get("total") else ""
    out.say(f"  {lines}{total}; for {order['customerId']}, placed {moment(order['createTime'])}")
    out.say(f"  payment      {_said(data['payment'], money(data['payment'].get('amount')))}")
    goods = ", ".join(f"{line['quantity']} {line['sku']}" for line in data["reservation"].get("lines", ()))
    out.say(f"  reservation  {_said(data['reservation'], goods)}")
    out.console.print(timeline_table(data["timeline"]))
    for number, page in enumerate(data["tracePages"]):
        out.say(f"Trace {page}" if number == 0 else f"and, begun much later, {page}")


def _said(part: Json, more: str) -> str:
    if not part:
        return "none"
    if "error" in part:
        return part["error"]
    wanted = ["the money is wanted back"] if part.get("refundPending") else []
    return ", ".join(filter(None, [part["state"], more, *wanted]))


@command.command("list")
@click.option("--customer", default="", help="Only this customer's.")
@click.option("--status", type=click.Choice(STATUSES, case_sensitive=False), help="Only those in this status.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many at most.")
@runs
async def list_orders(session: Session, customer: str, status: str | None, limit: int) -> None:
    """List the orders, the newest first."""
    from cli.listing import listing

    request: Json = {"customerId": customer, **({"status": status} if status else {})}
    orders = await (await session.rpc()).pages("order/ListOrders", "orders", request, limit)
    rows = [
        (
            order["orderId"],
            order["status"],
            moment(order["createTime"]),
            order["customerId"],
            money(order.get("total")),
            order.get("reason", ""),
        )
        for order in orders
    ]
    headers = ("order", "status", "placed", "customer", "total", "reason")
    session.out.show(orders, lambda console: listing(console, headers, rows, numbers=("total",)) if rows else None)
    if not orders:
        session.out.say("There is no such order." if customer or status else "There is no order yet.")


@command.command(short_help="Cancel an order, as its customer.")
@click.argument("order_id", type=ORDER_ID)
@runs
async def cancel(session: Session, order_id: str) -> None:
    """Cancel ORDER_ID: POST /v1/orders/{order_id}:cancel.

    A pending order first undoes what it had begun; a confirmed one is cancelled at once, money and goods come back
    after it. Exit code 6 if it was rejected.
    """
    order, trace_id = await (await session.rest()).post(f"/v1/orders/{order_id}:cancel", {})
    out, page = session.out, (await session.system()).page(trace_id)

    def render(_: object) -> None:
        undoes = " still, and undoes what it had begun" if order["status"] == "PENDING" else ""
        out.say(f"Order {order_id} is {order['status']}{undoes}.", "bold")
        out.say(f"What comes of it: ./shop order watch {order_id}")
        out.say(f"Its trace, and the cancel's: ./shop order trace {order_id} --follow")

    out.show({**order, "tracePage": page}, render)


@command.command(short_help="Follow its timeline as it grows.")
@click.argument("order_id", type=ORDER_ID)
@runs
async def watch(session: Session, order_id: str) -> None:
    """Follow the timeline of ORDER_ID as it grows.

    Ends when the order can change no more, or at Ctrl-C: a confirmed one may still be cancelled.
    """
    from cli.watching import watch as follow

    await (await session.rpc()).ask("order/GetOrder", {"orderId": order_id})
    session.out.say(f"Drawn while it runs: {(await session.system()).order_page(order_id)}", "dim")
    await session.out.while_read(follow(session, order_id))


def _kinds(_ctx: click.Context, _param: click.Parameter, text: str) -> tuple[str, ...]:
    kinds = tuple(filter(None, text.split(",")))
    for kind in kinds:
        if kind not in SHOWN:
            raise click.BadParameter(f"{kind} is none of {', '.join(SHOWN)}.")
    return kinds


@command.command(short_help="Draw its trace, and those of a later cancel, retry or POST.")
@click.argument("order_id", type=ORDER_ID)
@click.option("--follow", is_flag=True, help="Draw it as it grows, until the order has ended and all of it is told.")
@click.option("--show", default="", callback=_kinds, help=f"What stands below each span: {','.join(SHOWN)}.")
@runs
async def trace(session: Session, order_id: str, follow: bool, show: tuple[str, ...]) -> None:
    """Draw the trace of ORDER_ID as a tree, and those of what was asked for later: a cancel, a retry, a repeated POST.

    In a pipe --follow draws them once they are whole; with --json each span is a line, as soon as it comes.
    """
    from cli.order_trace import draw, follow_and_draw

    if follow:
        await session.out.while_read(follow_and_draw(session, order_id, show))
    else:
        await draw(session, order_id, show)
