"""The table of contents of `./shop`, and how it ends: each verb is loaded when it is used, so that --help is quick."""

import importlib
import json
import os
import sys
from typing import Any

import click

from cli.failures import EXIT_CODES, Failure

# By name: the module and what to read in the list. In the order of the list.
VERBS = {
    "play": ("cli.verbs.play", "Play one thing that can happen to an order, and see what comes of it."),
    "order": ("cli.verbs.order", "Place, show, list, cancel and watch orders; draw an order's trace."),
    "stock": ("cli.verbs.stock", "What is on the shelf, and what orders hold of it."),
    "payment": ("cli.verbs.payment", "The payment of an order, with its entries in the ledger."),
    "events": ("cli.verbs.events", "Read the events on Kafka, decoded; tell lost ones again."),
    "outbox": ("cli.verbs.outbox", "What waits to be sent, how long, and why."),
    "dead-letters": ("cli.verbs.dead_letters", "List, show and redrive messages that could not be handled."),
    "sagas": ("cli.verbs.sagas", "List the sagas, and retry a parked one."),
    "psql": ("cli.verbs.psql", "Look into a service's tables, read only."),
    "services": ("cli.verbs.services", "What runs where, in which version, and whether it is healthy."),
    "call": ("cli.verbs.call", "Call any method of a service with JSON."),
    "doctor": ("cli.verbs.doctor", "Look at every part, and say what to do about what is wrong."),
    "break": ("cli.verbs.break_", "Stop, freeze or cut a part for a lesson; it heals when that ends."),
}

# What a shell reports for a program that SIGINT or SIGPIPE ended.
INTERRUPTED, PIPE_CLOSED = 130, 141
# The variable by which a shell asks what could come next.
COMPLETION = "_SHOP_COMPLETE"


class ReaderLeft(Exception):
    """Standard output is closed."""


class Verbs(click.Group):
    """Loads a verb when it is used; the list needs none of them."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # click would end with 1, which says something else here.
            raise ReaderLeft from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        return importlib.import_module(VERBS[cmd_name][0]).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message} `./shop --help` lists the commands.", ctx) from None


def _print_completion(ctx: click.Context, _: click.Parameter, shell: str | None) -> None:
    if shell is None:
        return
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None  # noqa: S101 - the option takes no other shell
    click.echo(completion(ctx.command, {}, "shop", COMPLETION).source())
    ctx.exit()


@click.command(cls=Verbs, name="shop", epilog=EXIT_CODES, context_settings={"max_content_width": 110})
@click.option(
    "--completion",
    type=click.Choice(["bash", "zsh", "fish"]),
    is_eager=True,
    expose_value=False,
    callback=_print_completion,
    help="Print what makes this shell complete commands.",
)
def shop() -> None:
    """Play an order, and see it.

    Asks the shop that runs here, embedded (`make start`) or in containers (`docker compose up --detach --wait`).
    `./shop play confirmed` is a good beginning; `./shop COMMAND --help` says more of each.

    Completion: eval "$(./shop --completion bash)"
    """


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        code = shop.main(prog_name="shop", complete_var=COMPLETION, standalone_mode=False)
        sys.stdout.flush()
    except Failure as failure:
        return _failed(failure)
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except (ReaderLeft, BrokenPipeError):
        # Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return code if isinstance(code, int) else 0


def _failed(failure: Failure) -> int:
    if "--json" in sys.argv:
        told = {"error": str(failure), "exitCode": failure.exit_code, **failure.details}
        print(json.dumps(told), file=sys.stderr)  # noqa: T201 - a program reads it
    else:
        from rich.console import Console

        Console(stderr=True).print(str(failure), style="bold red", highlight=False, markup=False, soft_wrap=True)
    return failure.exit_code


if __name__ == "__main__":
    sys.exit(main())
