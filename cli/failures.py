"""What a user gets told, and the exit code that says it to a script."""

from typing import Any


class Failure(Exception):
    """The command cannot do what was asked; the message says why, and what to do.

    Args:
        details: what a program is told beside the message.
    """

    exit_code = 1

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details


class NotAsExpected(Failure):
    """It was done, and came out otherwise than it should."""


class Malformed(Failure):
    """The command line, or the request in it, is wrong."""

    exit_code = 2


class Impossible(Failure):
    """Not on this system, or not in this way."""

    exit_code = 3


class NoSystem(Failure):
    """Nothing runs, two systems run, or a part of it does not answer."""

    exit_code = 4


class NoBroker(NoSystem):
    """Kafka does not answer who wants to send dead letters back: nothing was sent, or not all."""

    exit_code = 2


class ProgramFailed(NoSystem):
    """A program that was asked, such as docker or psql, ended with an error; `said` is what it said alone."""

    def __init__(self, program: str, said: str) -> None:
        super().__init__(f"{program}: {said}")
        self.said = said


class Unknown(Failure):
    """There is no such order, scenario, topic, dead letter …"""

    exit_code = 5


class WrongState(Failure):
    """It is there, but not in a state for this: not parked, redriven already, broken already …"""

    exit_code = 6


EXIT_CODES = """\
Exit codes: 0 done · 1 it came out otherwise than it should · 2 the command line is wrong · 3 not possible on this
system · 4 nothing runs, two systems run, or a part does not answer · 5 there is no such thing · 6 it is not in a state
for this · 130 interrupted"""
