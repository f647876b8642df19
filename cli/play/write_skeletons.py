"""Writes golden skeletons anew, from plays on the running system.

make skeletons NAMES="confirmed slow-card"      without NAMES all that can be played there
"""

import sys
from collections.abc import Awaitable, Callable, Sequence

import click

import scenarios
from cli.failures import Failure, Impossible, NotAsExpected
from cli.play import skeleton
from cli.session import Session, runs
from scenarios.scenario import Scenario

Play = Callable[[Scenario], Awaitable[skeleton.Traces]]

# What is not the same in two plays is chance, and a golden file must not hold it.
PLAYS = 2


async def write(scenario: Scenario, play: Play) -> bool:
    """Play it, again to be sure, and write its skeleton; returns whether it is another than before.

    Raises:
        NotAsExpected: the plays differ; nothing is written.
    """
    text = skeleton.written(scenario, await play(scenario))
    for _ in range(1, PLAYS):
        if differs := skeleton.difference(text, scenario, await play(scenario)):
            raise NotAsExpected(
                f"{scenario.name} is not the same twice: its `repeats`, `any_order` and `sometimes` do not say all that"
                f" is chance. From one play to the next:\n{differs}"
            )
    path = scenarios.skeleton_path(scenario.name)
    is_new = not path.exists() or path.read_text() != text
    path.write_text(text)
    return is_new


async def played(session: Session, scenario: Scenario) -> skeleton.Traces:
    """The traces of a play on the running system.

    Raises:
        Failure: it came out otherwise than expected, or not all of its traces came.
    """
    from cli.play import player

    result = await player.play(session, scenario, scenario.waits(await player.deadlines(session)))
    if missing := [told.title for told in result.traces if not told.is_whole]:
        raise NotAsExpected(f"{scenario.name}: not every span has come of {', '.join(missing)}.")
    return [(told.title, told.spans) for told in result.traces]


@click.command("write_skeletons")
@click.argument("names", nargs=-1, type=click.Choice(scenarios.NAMES), metavar="[NAME]...")
@runs
async def command(session: Session, names: Sequence[str]) -> None:
    """Play each of NAMES twice on the running system, and write its skeleton."""
    from cli.play import player

    for name in names or scenarios.NAMES:
        scenario = scenarios.load(name)
        try:
            await player.check(session, scenario)
        except Impossible as impossible:
            if names:
                raise
            session.out.remark(str(impossible), style="yellow")
            continue
        is_new = await write(scenario, lambda each: played(session, each))
        session.out.remark(f"{scenarios.skeleton_path(name)}: {'written' if is_new else 'as it was'}", style="bold")


if __name__ == "__main__":
    try:
        command()
    except Failure as failure:
        sys.exit(str(failure))
