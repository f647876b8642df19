"""`shop payment`: what became of an order's money, with the entries of the ledger that prove it."""

from typing import Any

import click
from rich.console import Console

from cli.failures import NotAsExpected, Unknown
from cli.session import Session, runs
from cli.values import ORDER_ID, moment, money

Json = dict[str, Any]


@click.command(short_help="The payment of an order, with its entries in the ledger.")
@click.argument("order_id", type=ORDER_ID)
@runs
async def command(session: Session, order_id: str) -> None:
    """The payment of ORDER_ID: its state, its amount, and its entries in the ledger, which sum to zero."""
    rpc, out = await session.rpc(), session.out
    try:
        payment = await rpc.ask("payment/GetPayment", {"orderId": order_id})
    except Unknown:
        # Either there is no such order, which its own service says, or it has no payment.
        order = await rpc.ask("order/GetOrder", {"orderId": order_id})
        raise Unknown(f"Order {order_id} is {order['status']} and has no payment: nothing was charged.") from None
    total = ledger_sum(payment)
    out.show({**payment, "ledgerSumMinor": total}, lambda console: _show(console, payment))
    if total:
        raise NotAsExpected(f"The entries of payment {payment['paymentId']} sum to {total}, not to zero.")


def ledger_sum(payment: Json) -> int:
    """What the entries sum to, in minor units."""
    return sum(int(entry["amount"]["amountMinor"]) for entry in payment["ledgerEntries"])


def _show(console: Console, payment: Json) -> None:
    from cli.listing import listing

    amount = money(payment.get("amount"))
    console.print(f"Payment {payment['paymentId']}", style="bold", highlight=False, soft_wrap=True)
    said = f"  {payment['state']} since {moment(payment['updateTime'])}"
    console.print(said + (f", {amount}" if amount else ", of nothing: it was undone first"), highlight=False)
    if payment["refundPending"]:
        console.print("  The money is wanted back; the card network has not confirmed that yet.", style="yellow")
    if not payment["ledgerEntries"]:
        console.print("  Nothing is booked in the ledger.")
        return
    rows = [
        (moment(entry["createTime"]), entry["posting"], entry["account"], money(entry["amount"]))
        for entry in payment["ledgerEntries"]
    ]
    listing(console, ("booked", "posting", "account", "amount"), rows, numbers=("amount",))
    console.print(f"  The entries sum to {ledger_sum(payment) / 100:.2f}.", highlight=False)
