"""How values are told: money, moments, durations, and what a person types."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from chassis import uuids

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def money(amount: Mapping[str, Any] | None) -> str:
    """`29.80 EUR`; empty where there is none."""
    return f"{int(amount['amountMinor']) / 100:.2f} {amount['currencyCode']}" if amount else ""


def moment(time: str | datetime) -> str:
    """By this machine's clock, to the millisecond; with the date unless it is today's."""
    when = (datetime.fromisoformat(time) if isinstance(time, str) else time).astimezone()
    clock = f"{when:%H:%M:%S}.{when.microsecond // 1000:03}"
    return clock if when.date() == datetime.now().astimezone().date() else f"{when:%Y-%m-%d} {clock}"


def duration(seconds: float) -> str:
    """`350 ms`, `12.3 s`, `4 min`, `2.5 h` or `3.1 days`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h" if seconds < 2 * _DAY else f"{seconds / _DAY:.1f} days"


def counted(number: int, thing: str) -> str:
    """`1 event`, `2 events`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


class OrderId(click.ParamType[str]):
    """An order's id as a person types it."""

    name = "order_id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not uuids.is_canonical(value):
            self.fail(
                f"{value!r} is no order's id, which is {uuids.CANONICAL}; `./shop order list` tells them.", param, ctx
            )
        return value


ORDER_ID = OrderId()
