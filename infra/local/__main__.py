"""The embedded runner's command line: `python -m infra.local demo`."""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from rich.console import Console

from infra.local import runner
from infra.local.ports import Ports, PortsUnusable
from infra.local.postgres_programs import PostgresFailed
from infra.local.run_folder import AlreadyRuns, RunFolder
from infra.local.supervisor import SystemFailed
from infra.local.system import System

# What a shell reports for a program that SIGINT ended.
_INTERRUPTED = 130

_DESCRIPTION = """\
Runs the whole shop on this machine, without Docker: PostgreSQL, a Kafka broker in memory, a trace store that answers
as Jaeger does, the card network, the three services and the gateway. It all begins empty at each start.
"""

_EPILOG = """\
Every port is a setting: GATEWAY_PORT, CARD_NETWORK_PORT, POSTGRES_PORT, OTLP_PORT, TRACES_PORT, ORDER_GRPC_PORT,
PAYMENT_GRPC_PORT, INVENTORY_GRPC_PORT, GATEWAY_ADMIN_PORT, ORDER_ADMIN_PORT, PAYMENT_ADMIN_PORT, INVENTORY_ADMIN_PORT,
CARD_NETWORK_ADMIN_PORT. Kafka takes a port of its own choice.
"""


def main() -> int:
    arguments = _parser().parse_args()
    # A file has no width: lines are as long as they are.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    try:
        return _run(console, arguments)
    except (SystemFailed, PostgresFailed, PortsUnusable, AlreadyRuns) as failure:
        Console(stderr=True).print(str(failure), style="bold red", highlight=False, markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(console: Console, arguments: argparse.Namespace) -> int:
    folder = RunFolder(arguments.folder.resolve())
    match arguments.command:
        case "start":
            options = ["--folder", str(folder.path), *(["--free-ports"] if arguments.free_ports else [])]
            runner.start(console, folder, options)
            return 0
        case "stop":
            asyncio.run(runner.stop(console, folder))
            return 0
        case "status":
            return 0 if runner.status(console, folder) else 1
        case _:
            return _run_here(console, folder, arguments)


def _run_here(console: Console, folder: RunFolder, arguments: argparse.Namespace) -> int:
    once = arguments.command == "demo" and arguments.once
    as_expected = True
    begin = time.monotonic()

    async def show_orders(system: System) -> None:
        # Not needed by a system that only runs.
        from infra.local import demo, report

        nonlocal as_expected
        outcomes = await demo.place_examples(system.gateway_url, system.traces_url)
        report.show(console, outcomes)
        first = min(outcome.ended_at for outcome in outcomes)
        console.print(f"The first order ended {first - begin:.1f} s after this command began.", highlight=False)
        as_expected = all(outcome.is_as_expected for outcome in outcomes)
        if not once:
            report.show_addresses(console, outcomes, system.gateway_url, system.traces_url)
            console.print("It runs until Ctrl-C.")
            await runner.until_cancelled(system)

    ports = Ports.free() if arguments.free_ports else Ports.from_environment()
    use = show_orders if arguments.command == "demo" else runner.until_cancelled
    try:
        asyncio.run(runner.run(console, folder, ports, use))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _INTERRUPTED if once else 0
    return 0 if as_expected else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.local",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--folder", type=Path, default=Path(".run"), help="where logs and state are kept (default: %(default)s)"
    )
    starting = argparse.ArgumentParser(add_help=False)
    starting.add_argument("--free-ports", action="store_true", help="take any free ports instead of the usual ones")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    demo = commands.add_parser("demo", parents=[common, starting], help="run here and place the example orders")
    demo.add_argument(
        "--once", action="store_true", help="end after the orders; exit code 0 only if each ended as expected"
    )
    commands.add_parser("run", parents=[common, starting], help="run here, without orders, until Ctrl-C")
    commands.add_parser("start", parents=[common, starting], help="run in the background; returns when all is ready")
    commands.add_parser("stop", parents=[common], help="end what runs")
    commands.add_parser("status", parents=[common], help="say what runs; exit code 0 only if all of it is ready")
    return parser


if __name__ == "__main__":
    sys.exit(main())
