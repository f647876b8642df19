"""`shop call`: any method of a service, by hand."""

import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import click
from rich.console import Console

from catalogue import SERVICES
from cli.failures import Failure, NoSystem
from cli.session import Session, runs

if TYPE_CHECKING:
    from cli.calls import Call


def _services(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    return [f"{service.name}/" for service in SERVICES if f"{service.name}/".startswith(begun)]


@click.command(short_help="Call any method of a service with JSON.")
@click.argument("method", metavar="SERVICE/METHOD", shell_complete=_services)
@click.argument("request", metavar="[JSON|@FILE|-]", default="{}")
@click.option("--describe", is_flag=True, help="Do not call it: say what it takes and what it answers.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="The deadline, in seconds.  [default: 5; of a stream 330]",
)
@runs
async def command(session: Session, method: str, request: str, describe: bool, timeout: float | None) -> None:
    """Call a method such as inventory/ReleaseStock, found by reflection; a stream's answers are a line each.

    What changes something leaves a trace like any other call, and its address is told; what only asks leaves none.
    """
    from cli.calls import found

    call = await found(await session.rpc(), method)
    if describe:
        _describe(session, call)
    else:
        await session.out.while_read(_call(session, call, request, timeout))


async def _call(session: Session, call: "Call", given: str, seconds: float | None) -> None:
    from cli.calls import STREAM_SECONDS, UNARY_SECONDS, read

    message = call.request(read(given))
    streams, out = call.method.server_streaming, session.out
    answers = call.answers(message, seconds or (STREAM_SECONDS if streams else UNARY_SECONDS))
    try:
        async with aclosing(answers):
            async for answer in answers:
                if streams:
                    out.line(answer, lambda console, answer=answer: _print(console, json.dumps(answer)))
                else:
                    out.show(answer, lambda console, answer=answer: _print(console, json.dumps(answer, indent=2)))
    except Failure as failure:
        ended = isinstance(failure, NoSystem) and failure.details["code"] == "DEADLINE_EXCEEDED"
        if not (streams and ended and seconds):
            # A program finds the trace among the error's details.
            if not out.as_json:
                await _tell_trace(session, call)
            raise
        out.remark(f"Ended after {seconds:g} s, as told.", "dim")
    await _tell_trace(session, call)


async def _tell_trace(session: Session, call: "Call") -> None:
    if call.trace_id:
        session.out.remark(f"trace {(await session.system()).page(call.trace_id)}", "dim")


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _describe(session: Session, call: "Call") -> None:
    from cli.described import described, skeleton

    example = skeleton(call.method.input_type)
    text = described(call.method)
    name = f"{call.service}/{call.method.name}"

    def render(console: Console) -> None:
        _print(console, f"{text}\n")
        kind = "It only asks: it leaves no trace." if call.asks else "It may change something: it leaves a trace."
        _print(console, f"{kind} Every field, each with an empty value:\n./shop call {name} '{json.dumps(example)}'")

    data = {"method": name, "changesNothing": call.asks, "stream": call.method.server_streaming}
    session.out.show({**data, "described": text, "request": example}, render)
