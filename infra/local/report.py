"""What a person sees of the orders: a table, and for each order its steps and its trace as a tree."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.local.demo import Outcome
from infra.local.drawing import print_tree, timeline_table
from infra.local.span_details import KINDS
from infra.local.spans import trace_spans


def show(console: Console, outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        _show_one(console, outcome, explained=outcome is outcomes[0])
    console.print()
    console.print(_table(outcomes))


def show_addresses(console: Console, outcomes: list[Outcome], gateway_url: str, traces_url: str) -> None:
    """What to look at next, while the system runs."""
    console.print(_addresses(outcomes, gateway_url, traces_url), highlight=False, soft_wrap=True)


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="Orders")
    for header in ("order", "what it shows", "ended", "total", "took", "spans"):
        table.add_column(header, overflow="fold")
    for outcome in outcomes:
        order = outcome.order
        table.add_row(
            order["orderId"],
            outcome.example.title,
            Text("\n".join(filter(None, (order["status"], order.get("reason")))), _style(outcome)),
            _money(order.get("total")),
            f"{outcome.seconds:.2f} s",
            str(len(list(trace_spans(outcome.trace))) if outcome.trace else 0),
        )
    return table


def _style(outcome: Outcome) -> str:
    return "green" if outcome.is_as_expected else "bold red"


def _show_one(console: Console, outcome: Outcome, *, explained: bool) -> None:
    console.print()
    console.rule(Text(f"{outcome.example.title}: order {outcome.order['orderId']}"), align="left")
    console.print(timeline_table(outcome.timeline))
    if outcome.trace is None:
        console.print(f"No trace {outcome.order['traceId']} was found.", style="bold red")
        return
    console.print(f"Trace {outcome.order['traceId']}", style="bold")
    print_tree(console, trace_spans(outcome.trace), "embedded", explained=explained)


def _addresses(outcomes: list[Outcome], gateway_url: str, traces_url: str) -> str:
    trace_id = outcomes[0].order["traceId"]
    return f"""
API, with its documentation   {gateway_url}/docs
Traces of orders              {traces_url}/
A trace as text               curl {traces_url}/trace/{trace_id}
  with more of each span      curl '{traces_url}/trace/{trace_id}?show={",".join(KINDS)}'
Place an order yourself       curl {gateway_url}/v1/orders -H 'Content-Type: application/json' \\
  -d '{{"customerId": "ada", "cardToken": "tok_visa", "lines": [{{"sku": "espresso-beans", "quantity": 2}}]}}'
"""


def _money(total: dict[str, Any] | None) -> str:
    if total is None:
        return ""
    return f"{int(total['amountMinor']) / 100:.2f} {total['currencyCode']}"
