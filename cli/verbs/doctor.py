"""`shop doctor`: every part, the settings, and what waits for somebody; what is wrong, why it matters, what to do."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from catalogue import PARTS, SERVICES
from cli.doctor.finding import Finding, bounded
from cli.failures import Failure, NotAsExpected
from cli.output import Output
from cli.session import Session, runs

STYLES = {"well": "green", "note": "yellow", "wrong": "bold red"}


@click.command()
@runs
async def command(session: Session) -> None:
    """Look at every part, and say what to do about what is wrong.

    Asks every part whether it takes work, compares settings that have to fit each other, and says what is still broken
    by `shop break`. Takes about 3 seconds at most. Exit code 1 if something is wrong.
    """
    system = await session.system()
    found = await _examined(session)
    wrong = [finding for finding in found if finding.verdict == "wrong"]
    data = {"system": system.kind, "isWell": not wrong, "findings": [asdict(finding) for finding in found]}
    session.out.show(data, lambda console: _show(session.out, console, found))
    if wrong:
        about = ", ".join(dict.fromkeys(finding.about for finding in wrong))
        raise NotAsExpected(f"Not all is well: {about}.")
    session.out.say("All is well.", "green")


async def _examined(session: Session) -> list[Finding]:
    """All looks at once; what a part's state says already is not asked again."""
    # Kafka, gRPC and HTTP clients, which other commands do not need.
    from cli.doctor import parts, settings, stores

    system = await session.system()
    looks = {
        "gateway": parts.gateway(system),
        **{service.name: parts.service(system, service.name) for service in SERVICES},
        "card-network": parts.card_network(system),
        "kafka": stores.kafka(system),
        "postgres": stores.postgres(system),
        "jaeger": parts.jaeger(system),
        "settings": settings.settings(system),
    }

    async def states() -> list[Finding]:
        return [finding for part in await system.parts() if (finding := parts.of_state(system, part))]

    by_state, sagas, *asked = await asyncio.gather(
        bounded("containers", states()),
        _parked(session),
        *(bounded(about, look) for about, look in looks.items()),
    )
    known = {finding.about for finding in by_state}
    found = [finding for findings in asked for finding in findings if finding.about not in known]
    order = {name: place for place, name in enumerate((*PARTS, "settings"))}
    return sorted([*by_state, *found, *sagas], key=lambda finding: order.get(finding.about, len(order)))


async def _parked(session: Session) -> list[Finding]:
    """Sagas that were left to an operator; nothing if that cannot be asked, which another finding says."""
    try:
        async with asyncio.timeout(2.5):
            answer = await (await session.rpc()).ask("order/ListSagas", {"parked": True, "pageSize": 100})
    except (Failure, TimeoutError):
        return []
    if not (parked := answer["sagas"]):
        return []
    count = "1 saga is" if len(parked) == 1 else f"{len(parked)}{'+' if answer['nextPageToken'] else ''} sagas are"
    why = (
        "A compensation was not answered for so long that it is left to an operator: money or goods are not given back."
    )
    commands = ("./shop sagas list --parked", f"./shop sagas retry {parked[0]['orderId']}")
    return [Finding("sagas", "note", f"{count} parked", why, "See to what does not answer, then retry:", commands)]


def _show(out: Output, console: Console, found: Sequence[Finding]) -> None:
    for finding in found:
        console.print(f"{finding.about:<13}[{STYLES[finding.verdict]}]{finding.verdict:<6}[/]", end="", highlight=False)
        out.say(finding.what)
        for sentence in filter(None, (finding.why, finding.do) if finding.verdict != "well" else ()):
            _say_below(out, console, sentence)
        for each in finding.commands:
            # To be copied: whole, however narrow the terminal is.
            console.print(f"    {each}", highlight=False, markup=False, soft_wrap=True)


def _say_below(out: Output, console: Console, sentence: str) -> None:
    if console.is_terminal:
        console.print(Padding(Text(sentence), (0, 0, 0, 2), expand=False), highlight=False)
    else:
        out.say(f"  {sentence}")
