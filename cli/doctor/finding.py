"""What the doctor finds: what is so, why it matters, and what to do."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Literal

from cli.failures import Failure

# The most that one look takes.
LOOK_SECONDS_MAX = 3.0

Verdict = Literal["well", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        about: a part of `catalogue.PARTS`, or what else was looked at.
        verdict: a note is worth knowing, but nothing is wrong.
        do: what to do, a sentence; `commands` are what to type.
    """

    about: str
    verdict: Verdict
    what: str
    why: str = ""
    do: str = ""
    commands: tuple[str, ...] = ()


# Why it matters that a part is not there.
MATTERS = {
    "gateway": "Nobody can place an order.",
    "order": "No order is accepted, and no saga moves.",
    "payment": "Orders wait for their charge until their deadline turns them back; refunds wait too.",
    "inventory": "Orders wait for their reservation until their deadline turns them back; returned goods wait too.",
    "card-network": "No card is charged and nothing is refunded: payments ask again and again.",
    "kafka": "What happened waits in the outboxes, and no saga hears of it.",
    "postgres": "The services can promise nothing, so they accept nothing.",
    "jaeger": "Orders go on as ever, but nobody can see their traces, and new spans are dropped.",
}


async def bounded(about: str, look: Awaitable[list[Finding]]) -> list[Finding]:
    """What a look finds; that it fails, or takes more than LOOK_SECONDS_MAX, is a finding too."""
    try:
        async with asyncio.timeout(LOOK_SECONDS_MAX):
            return await look
    except TimeoutError:
        what = f"does not answer within {LOOK_SECONDS_MAX:g} s"
        do = "Look again: a busy machine may be all that is wrong."
    except Failure as failure:
        what, do = str(failure), ""
    return [Finding(about, "wrong", what, MATTERS.get(about, ""), do)]
