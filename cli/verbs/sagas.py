"""`shop sagas`: which sagas there are, and a parked one sent on its way again."""

from typing import Any

import click

from cli.session import Session, runs
from cli.values import ORDER_ID, duration

Json = dict[str, Any]

STEPS = (
    "RESERVING_STOCK",
    "CHARGING_PAYMENT",
    "REFUNDING_PAYMENT",
    "RELEASING_STOCK",
    "CONFIRMED",
    "REJECTED",
    "CANCELLED",
)


@click.group(short_help="List the sagas, and retry a parked one.")
def command() -> None:
    """The fulfilment sagas: one for each order."""


@command.command("list")
@click.option("--parked", is_flag=True, help="Only those that wait for an operator.")
@click.option("--step", type=click.Choice(STEPS, case_sensitive=False), help="Only those at this step.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many at most.")
@runs
async def list_sagas(session: Session, parked: bool, step: str | None, limit: int) -> None:
    """List the sagas, those whose step began first at the top."""
    from cli.listing import listing

    request: Json = {"parked": parked, **({"step": step} if step else {})}
    sagas = await (await session.rpc()).pages("order/ListSagas", "sagas", request, limit)
    headers = ("order", "step", "for", "attempt", "patience left", "parked for", "turned back by")
    rows = [_row(saga) for saga in sagas]
    session.out.show(sagas, lambda console: listing(console, headers, rows, numbers=("attempt",)) if rows else None)
    if not sagas:
        session.out.say("No saga is parked." if parked else "There is no such saga.")
    elif parked:
        session.out.say("Repair what does not answer, then: ./shop sagas retry ORDER_ID")


def _row(saga: Json) -> tuple[str, ...]:
    left = -_age(saga["deadline"]) if "deadline" in saga else None
    return (
        saga["orderId"],
        saga["step"],
        duration(max(0.0, _age(saga["stepTime"]))),
        str(saga["attempt"]),
        "" if left is None else duration(left) if left > 0 else "none",
        duration(max(0.0, _age(saga["parkTime"]))) if "parkTime" in saga else "",
        saga.get("reason", ""),
    )


def _age(time: str) -> float:
    """Seconds since then."""
    from datetime import UTC, datetime

    return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()


@command.command()
@click.argument("order_id", type=ORDER_ID)
@runs
async def retry(session: Session, order_id: str) -> None:
    """Send the command of the parked saga of ORDER_ID again.

    Exit code 6 if it is not parked.
    """
    saga, trace_id = await (await session.rpc()).act("order/RetrySaga", {"orderId": order_id})
    out, page = session.out, (await session.system()).page(trace_id) if trace_id else ""

    def render(_: object) -> None:
        out.say(f"The saga of order {order_id} goes on: {saga['step']}, attempt {saga['attempt']}.", style="green")
        out.say(f"What comes of it: ./shop order watch {order_id}")
        if page:
            out.say(f"Trace {page}")

    out.show({**saga, "traceId": trace_id, "tracePage": page}, render)
