"""`shop break THING`: a part is broken as long as this command runs, and healed when it ends, however it ends."""

import asyncio
import math
import signal
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import get_args

import click
from rich.console import Console

from catalogue import PARTS
from cli.breaks import DOING, DONE, MEANS, meanwhile
from cli.failures import NoSystem
from cli.output import Output
from cli.session import Session, runs
from cli.systems.running import How, Running

READY_SECONDS_MAX = 60.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _parts(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    return [part for part in PARTS if part.startswith(begun)]


@click.command()
@click.argument("thing", shell_complete=_parts)
@click.option(
    "--how",
    type=click.Choice(get_args(How)),
    help="Stop it, freeze it, cut it off (in containers), or take it down (the embedded Kafka).  [default: stop]",
)
@click.option(
    "--for",
    "seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Heal it after so long.  [default: at Ctrl-C]",
)
@runs
async def command(session: Session, thing: str, how: How | None, seconds: float | None) -> None:
    """Break a part for a lesson, and heal it when this command ends.

    THING is gateway, order, payment, inventory, card-network, kafka, postgres or jaeger. The command stays in the
    foreground until Ctrl-C or its time; then the part is healed, also when the command itself is killed.
    """
    out, system, ended = session.out, await session.system(), _ended()
    # A mock broker that is stopped would forget its messages.
    how = how or ("down" if thing == "kafka" and system.kind == "embedded" else "stop")
    settings = await system.settings() if thing in PARTS else {}
    with _changing_line(out) as show:
        show(f"{DOING[how]} {thing}")
        async with system.broken(thing, how):
            show("")
            _explain(out, thing, how, seconds, settings)
            broken_seconds = await _stays(f"{thing} is {DONE[how]}", ended, seconds, show)
            show(f"Healing {thing}")
        ready_seconds = await _ready(system, thing)
    healed = {"part": thing, "state": "running"} | {"brokenSeconds": broken_seconds, "readySeconds": ready_seconds}
    took = f" That took {ready_seconds:.1f} s." if ready_seconds >= 0.1 else ""
    out.line(healed, lambda _: out.say(f"{thing} is healed, and ready again.{took}", "green"))


def _ended() -> asyncio.Event:
    """Set by Ctrl-C or SIGTERM, which are the normal end of this command."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        ended.set()
        # The second one does not wait for the healing, which goes on without us.
        for number in SIGNALS:
            loop.remove_signal_handler(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, end)
    return ended


def _explain(out: Output, thing: str, how: How, seconds: float | None, settings: Mapping[str, float]) -> None:
    sentence, commands = meanwhile(thing, settings)

    def render(_: Console) -> None:
        out.say(f"{thing} is {DONE[how]}: {MEANS[how]}.", "bold yellow")
        out.say(f"{sentence} Try it:")
        for each in commands:
            out.say(f"  {each}")
        out.say("It heals at Ctrl-C." if seconds is None else f"It heals after {seconds:g} s, or at Ctrl-C.")

    out.line({"part": thing, "state": "broken", "how": how, "forSeconds": seconds}, render)


async def _stays(said: str, ended: asyncio.Event, seconds: float | None, show: Callable[[str], None]) -> float:
    """Returns at Ctrl-C, or when the time is over: how long it was."""
    began = time.monotonic()
    while True:
        gone = time.monotonic() - began
        left = math.inf if seconds is None else seconds - gone
        if ended.is_set() or left <= 0:
            return round(gone, 3)
        show(f"{said}, {gone:.0f} s so far" if seconds is None else f"{said}, {left:.0f} s left")
        with suppress(TimeoutError):
            async with asyncio.timeout(min(1.0, left)):
                await ended.wait()


async def _ready(system: Running, thing: str) -> float:
    """Returns when the part is ready again: how long that took.

    Raises:
        NoSystem: it takes too long.
    """
    began = time.monotonic()
    try:
        async with asyncio.timeout(READY_SECONDS_MAX):
            await system.ready(thing)
    except TimeoutError:
        raise NoSystem(
            f"{thing} is healed, but not ready after {READY_SECONDS_MAX:g} s; `./shop doctor` says more."
        ) from None
    return round(time.monotonic() - began, 3)


@contextmanager
def _changing_line(out: Output) -> Generator[Callable[[str], None]]:
    """What shows a line in place of the one before, where somebody looks; the empty one takes it away."""
    status = out.aside.status("")

    def show(text: str) -> None:
        if not text:
            status.stop()
        elif out.aside.is_terminal:
            status.update(text)
            status.start()

    try:
        yield show
    finally:
        status.stop()
