"""What a person sees of the orders: a table, and for each order its steps and its trace as a tree."""

from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.local.demo import Outcome
from infra.local.span_details import KINDS
from infra.local.spans import trace_spans
from infra.local.trace_tree import HEADING, Line, legend, trace_lines

_SERVICE_STYLES = {
    "gateway": "cyan",
    "order": "green",
    "payment": "magenta",
    "inventory": "blue",
    "card-network": "yellow",
}


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
            str(len(_lines(outcome))),
        )
    return table


def _style(outcome: Outcome) -> str:
    return "green" if outcome.is_as_expected else "bold red"


def _lines(outcome: Outcome) -> list[Line]:
    return trace_lines(trace_spans(outcome.trace)) if outcome.trace else []


def _show_one(console: Console, outcome: Outcome, *, explained: bool) -> None:
    console.print()
    console.rule(Text(f"{outcome.example.title}: order {outcome.order['orderId']}"), align="left")
    console.print(_timeline(outcome))
    if outcome.trace is None:
        console.print(f"No trace {outcome.order['traceId']} was found.", style="bold red")
        return
    console.print(f"Trace {outcome.order['traceId']}", style="bold")
    lines = _lines(outcome)
    width = max(len(line.span.service) for line in lines)
    console.print(f"{HEADING}  {'service':<{width}}  span", style="dim", highlight=False)
    for line in lines:
        # A span is a line: what is too long for a terminal is cut there, and whole in a file.
        console.print(_span(line, width), no_wrap=True, overflow="ellipsis", soft_wrap=not console.is_terminal)
    for sentence in legend(lines) if explained else ():
        console.print(sentence, style="dim", highlight=False, soft_wrap=True)


def _timeline(outcome: Outcome) -> Table:
    # Without a header: most entries have nothing in the last column, the reason that only the saga knows.
    table = Table("after", "service", "event", "status", "", box=None, title="Steps", title_justify="left")
    begin = datetime.fromisoformat(outcome.timeline[0]["time"])
    for entry in outcome.timeline:
        after = datetime.fromisoformat(entry["time"]) - begin
        table.add_row(
            f"{after.total_seconds() * 1000:.0f} ms",
            Text(entry["service"], _SERVICE_STYLES.get(entry["service"], "")),
            entry["event"].rpartition(".")[2],
            entry.get("status", ""),
            Text(entry.get("detail", "")),
        )
    return table


def _span(line: Line, width: int) -> Text:
    failed = line.span.error is not None
    return Text.assemble(
        (line.times, "bold yellow" if line.wait else "dim"),
        "  ",
        (f"{line.span.service:<{width}}", _SERVICE_STYLES.get(line.span.service, "")),
        "  ",
        (line.guide, "dim"),
        (line.span.name, "bold red" if failed else ""),
        (f"  [{line.remarks}]" if line.remarks else "", "bold red" if failed else "dim"),
    )


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
