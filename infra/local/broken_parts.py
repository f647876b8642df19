"""Breaks parts of the running system for a while: a lesson, or a test, says how long.

stop     its process ends as at the system's end, and the supervisor holds its restart
freeze   its process stands still, and its children
down     the broker drops every connection and refuses new ones
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from infra.local.supervisor import Supervisor

STATES = {"stop": "stopped", "freeze": "frozen", "down": "stopped"}

_CUT = "Embedded, the parts are processes of one machine, with no network between them to cut: cut works in containers."
_BROKER = (
    "The embedded system's Kafka is a mock broker that has all messages in its memory, so that it can only be down:"
    " ./shop break kafka --how down. In containers Kafka can be stopped, frozen and cut."
)


class Impossible(Exception):
    """Not this part, or not in this way; the message says what goes instead."""


class NotNow(Exception):
    """The part is broken already, or not ready yet."""


class BrokenParts:
    """Which parts are broken now, and how.

    Args:
        tell_broker: says `down` or `up` to the broker.
        say: is told, a line each, what is broken and what is healed.
        changed: is called whenever either happened.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        tell_broker: Callable[[str], Awaitable[None]],
        *,
        say: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self._supervisor, self._tell_broker = supervisor, tell_broker
        self._say, self._changed = say, changed
        self._states: dict[str, str] = {}
        self._is_ending = False

    def state(self, name: str) -> str:
        """stopped, frozen, or empty if nobody has broken it."""
        return self._states.get(name, "")

    def end(self) -> None:
        """The system ends: from now on nothing is healed, for all is ended."""
        self._is_ending = True

    @asynccontextmanager
    async def broken(self, name: str, how: str) -> AsyncGenerator[None]:
        """Inside the block the part is broken; after it the part is ready again.

        Raises:
            Impossible: there is no such part, or it cannot be broken so.
            NotNow: it is broken already, or not ready.
        """
        self._check(name, how)
        self._states[name] = STATES[how]
        try:
            await self._break(name, how)
            self._changed()
            self._say(f"{name} is {'down' if how == 'down' else STATES[how]}: somebody broke it, and will heal it")
            yield
        finally:
            if not self._is_ending:
                await self._heal(name, how)

    def _check(self, name: str, how: str) -> None:
        if how == "cut":
            raise Impossible(_CUT)
        names = [running.part.name for running in self._supervisor.parts]
        if name not in names or how not in STATES:
            raise Impossible(f"There is no {how} of {name}: parts are {', '.join(names)}, ways {', '.join(STATES)}.")
        if (name == "broker") != (how == "down"):
            raise Impossible(_BROKER if name == "broker" else f"Only Kafka can be down: stop or freeze {name}.")
        if state := self.state(name):
            raise NotNow(f"It is broken already: {name} is {state}.")
        if not self._supervisor[name].is_ready.is_set():
            raise NotNow(f"{name} is not ready: try again in a moment.")

    async def _break(self, name: str, how: str) -> None:
        match how:
            case "stop":
                await self._supervisor.hold(name)
            case "freeze":
                self._supervisor.freeze(name)
            case _:
                await self._tell_broker("down")

    async def _heal(self, name: str, how: str) -> None:
        del self._states[name]
        if how == "down":
            await self._tell_broker("up")
        else:
            await self._supervisor.release(name)
        self._changed()
        self._say(f"{name} is healed")
