"""`./shop play`: one thing that can happen to an order, from the prediction to the answer."""

from difflib import get_close_matches
from typing import Any

import click

import scenarios
from cli.failures import NoSystem, NotAsExpected, Unknown
from cli.session import Session, runs
from scenarios.scenario import Deadlines, Scenario

Json = dict[str, Any]


def _names(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    """The names that a shell offers."""
    return [name for name in scenarios.NAMES if name.startswith(begun)]


@click.command("play", short_help="Play one thing that can happen to an order.")
@click.argument("name", required=False, shell_complete=_names)
@click.option("--list", "lists", is_flag=True, help="List the scenarios: what happens, how long, and how you did.")
@click.option("--yes", is_flag=True, help="Do not ask for a prediction.")
@click.option("--predict", type=click.IntRange(1, 3), help="Your prediction; then nothing is asked.")
@runs
async def command(session: Session, name: str | None, lists: bool, yes: bool, predict: int | None) -> None:
    """Play NAME on the running system.

    It says what it will do, asks what you expect, does it, and shows the timeline as it grows, the trace as a tree
    with its two waits, the balances of money and stock, and which of the three answers came true.
    """
    if lists or name is None:
        await _list(session)
        return
    await _play(session, _known(name), asks=not yes, predicted=predict)


def _known(name: str) -> Scenario:
    if name not in scenarios.NAMES:
        near = get_close_matches(name, scenarios.NAMES, n=3, cutoff=0.4)
        meant = f" Did you mean {', '.join(near)}?" if near else ""
        raise Unknown(f"There is no scenario {name!r}.{meant} `./shop play --list` lists all.")
    return scenarios.load(name)


async def _play(session: Session, scenario: Scenario, *, asks: bool, predicted: int | None) -> None:
    from cli.play import player, predictions, shown

    await player.check(session, scenario)
    waits = scenario.waits(await player.deadlines(session))
    shown.intro(scenario, waits, session.out)
    if asks and predicted is None and session.out.is_terminal and not session.out.as_json:
        predicted = predictions.ask(session.out)
    result = await player.play(session, scenario, waits)
    result.predicted = predicted
    predictions.keep(scenario, predicted, result.came_true)
    system = await session.system()
    session.out.show(shown.as_json(result, system), lambda _: shown.outcome(result, session.out, system))
    if not all(told.is_whole for told in result.traces):
        raise NotAsExpected("Not every span of its traces has come.")


async def _list(session: Session) -> None:
    from cli.play import player, predictions, shown

    try:
        waits: Deadlines | None = await player.deadlines(session)
        kind = (await session.system()).kind
    except NoSystem as nothing:
        session.out.remark(f"{nothing}\n", style="yellow")
        waits, kind = None, ""
    kept = predictions.all_kept()
    rows = [_row(scenarios.load(name), waits, kind, kept.get(name)) for name in scenarios.NAMES]
    session.out.show(rows, lambda console: shown.listed(rows, console))


def _row(scenario: Scenario, deadlines: Deadlines | None, kind: str, kept: Json | None) -> Json:
    takes = "?"
    if scenario.containers_only and kind == "embedded":
        takes = "containers only"
    elif deadlines is not None:
        takes = f"≤ {sum(scenario.waits(deadlines).values()) + scenario.slack_seconds:.0f} s"
    you = ""
    if kept is not None:
        you = "played" if kept["predicted"] is None else "right" if kept["predicted"] == kept["cameTrue"] else "wrong"
    return {"name": scenario.name, "title": scenario.title, "takes": takes, "you": you}
