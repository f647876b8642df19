"""What a person sees of a play: before it, what it will do; after it, traces, balances, and the answer."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.output import Output
from cli.play.player import Result
from cli.systems.running import Running
from cli.values import money
from infra.local.drawing import MARK, print_tree
from infra.local.spans import Span
from scenarios.scenario import Order, Scenario

Json = dict[str, Any]

MISSING = (
    "Some spans of this trace have not come; look again in a moment. With TRACE_ASYNC=link they are in other traces,"
    " with TRACE_SAMPLE_RATIO below 1 they may be nowhere."
)
# Beyond that a race would fill the screen with the same story.
ORDERS_MAX = 3


def intro(scenario: Scenario, waits: Mapping[str, float], out: Output) -> None:
    """What it does, how long it takes, and the question with its three answers."""
    out.say(scenario.title, style="bold")
    for sentence in scenario.does:
        out.say(f"  {sentence}")
    seconds = sum(waits.values()) + scenario.slack_seconds
    named = "; ".join(f"{wait:g} s: {what}" for what, wait in waits.items())
    out.say(f"  It takes up to {seconds:.0f} s.{f' Of these, {named}.' if named else ''}", style="dim")
    out.say("")
    out.say(scenario.question, style="bold")
    for number, choice in enumerate(scenario.choices, 1):
        out.say(f"  {number}  {choice.text}")
    out.say("")


def outcome(result: Result, out: Output, system: Running) -> None:
    """Traces, balances, and which choice came true."""
    shows_it = _span(result)
    for number, told in enumerate(result.traces):
        out.say("")
        out.say(f"Trace of {told.title}: {len(told.spans)} spans", style="bold")
        print_tree(out.console, told.spans, system.kind, explained=number == 0, marked=shows_it.id if shows_it else "")
        if not told.is_whole:
            out.say(MISSING, style="bold red")
    out.say("")
    for order in result.seen.orders[:ORDERS_MAX]:
        _order(order, out)
    _shelf(result.stock, out)
    for told in result.traces:
        out.say(f"{told.title}, in the trace store: {system.page(told.trace_id)}")
    for order in result.seen.orders[:ORDERS_MAX]:
        out.say(f"Order {order.order['orderId']}, drawn: {system.order_page(order.order['orderId'])}")
    out.say("")
    _answer(result, shows_it, out)


def _order(order: Order, out: Output) -> None:
    reason = f", {order.reason}" if order.reason else ""
    out.say(f"Order {order.order['orderId']}: {order.status}{reason}", style="bold")
    out.say(f"  money  {_money(order.payment)}")
    out.say(f"  goods  {_goods(order.reservation)}")


def _money(payment: Json) -> str:
    if not payment:
        return "no payment: nobody was asked for money"
    entries = payment["ledgerEntries"]
    booked = ", ".join(
        f"{entry['posting'].lower()} {entry['account'].lower()} {money(entry['amount'])}" for entry in entries
    )
    total = sum(int(entry["amount"]["amountMinor"]) for entry in entries)
    ledger = f"ledger: {booked}; sum {total / 100:.2f}" if entries else "ledger: nothing was booked"
    return f"{payment['state']} {money(payment.get('amount'))}".rstrip() + f"; {ledger}"


def _goods(reservation: Json) -> str:
    if not reservation:
        return "no reservation: inventory was never asked"
    lines = ", ".join(f"{line['quantity']} {line['sku']}" for line in reservation["lines"])
    return f"{reservation['state']}{f': {lines}' if lines else ''}"


def _shelf(stock: Mapping[str, tuple[Json, Json]], out: Output) -> None:
    for sku, (before, now) in stock.items():
        words = [f"{name} {before[name]} → {now[name]}" for name in ("available", "held")]
        out.say(f"On the shelf, {sku}: {', '.join(words)}")


def _answer(result: Result, shows_it: Span | None, out: Output) -> None:
    scenario, number = result.scenario, result.came_true
    out.say(f"{number} came true: {scenario.choices[number - 1].text}", style="bold green")
    if result.predicted is not None:
        right = result.predicted == number
        said = "That is what you expected." if right else f"You expected {result.predicted}."
        out.say(said, style="green" if right else "yellow")
    service, name = scenario.shown_by
    if shows_it:
        out.say(f"The span that shows it, {MARK} above: {name} ({service}){_facts(shows_it)}")
    out.say(scenario.lesson)
    out.say(f"It took {result.seconds:.1f} s.", style="dim")


def _span(result: Result) -> Span | None:
    """The span that shows the answer, if it is in one of the traces."""
    found = [
        span
        for told in result.traces
        for span in sorted(told.spans, key=lambda span: span.start)
        if (span.service, span.name) == result.scenario.shown_by
    ]
    return found[-1 if result.scenario.shown_last else 0] if found else None


def _facts(span: Span) -> str:
    facts = span.attributes.get("shop.saga.facts", "")
    return f", it says “{facts}”" if facts else ""


def listed(rows: list[Json], console: Console) -> None:
    """The table of scenarios."""
    table = Table(box=None, pad_edge=False)
    for header in ("scenario", "what happens", "takes", "you"):
        table.add_column(header, no_wrap=header in ("scenario", "takes"), overflow="fold")
    for row in rows:
        table.add_row(row["name"], row["title"], row["takes"], row["you"])
    console.print(table)


def as_json(result: Result, system: Running) -> Json:
    """The whole result, for a program."""
    scenario = result.scenario
    return {
        "scenario": scenario.name,
        "seconds": round(result.seconds, 2),
        "waits": dict(result.waits),
        "predicted": result.predicted,
        "cameTrue": result.came_true,
        "choices": [choice.text for choice in scenario.choices],
        "shownBy": {"service": scenario.shown_by[0], "span": scenario.shown_by[1]},
        "orders": [
            {
                "order": each.order,
                "page": system.order_page(each.order["orderId"]),
                "timeline": list(each.timeline),
                "payment": each.payment,
                "goods": each.reservation,
            }
            for each in result.seen.orders
        ],
        "stock": {sku: {"before": before, "after": after} for sku, (before, after) in result.stock.items()},
        "traces": [
            {
                "title": told.title,
                "traceId": told.trace_id,
                "page": system.page(told.trace_id),
                "spans": len(told.spans),
            }
            for told in result.traces
        ],
    }
