"""A running system, whether embedded or in containers: all that the command line knows of it."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

How = Literal["stop", "freeze", "cut", "down"]
State = Literal["running", "starting", "unhealthy", "stopped", "frozen", "cut", "missing"]

# What a person calls it: "is stopped", "is frozen" …
BROKEN: Mapping[State, str] = {"stopped": "stop", "frozen": "freeze", "cut": "cut"}


@dataclass(frozen=True, slots=True)
class Replica:
    """One process of a service; `address` is its gRPC target."""

    service: str
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Part:
    """One part now; `detail` says more than the state, if there is more."""

    name: str
    state: State
    address: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """A command that runs here, in the environment beside ours."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


class Running(Protocol):
    """Addresses are those that this process reaches; `pages` are those that a person's browser reaches."""

    @property
    def kind(self) -> Literal["embedded", "containers"]: ...

    @property
    def gateway_url(self) -> str: ...

    @property
    def traces_url(self) -> str: ...

    @property
    def otlp(self) -> str:
        """Where spans go; empty where this process reaches nobody who takes them."""
        ...

    @property
    def card_network_url(self) -> str: ...

    @property
    def kafka(self) -> str:
        """Bootstrap servers."""
        ...

    def page(self, trace_id: str) -> str:
        """Where a person looks at a trace."""
        ...

    def order_page(self, order_id: str) -> str:
        """Where a person sees an order drawn: the explorer."""
        ...

    async def replicas(self, service: str) -> list[Replica]:
        """The processes of a service that can be reached, the oldest first."""
        ...

    async def settings(self) -> Mapping[str, float]:
        """The waits in `catalogue.DEADLINES`, as they hold now, by the names of their settings; in seconds."""
        ...

    async def parts(self) -> list[Part]:
        """Every part in `catalogue.PARTS`; of a part with replicas one entry for each."""
        ...

    def psql(self, service: str, *options: str, interactive: bool = False) -> Program:
        """psql on a service's database, in the role that may only read."""
        ...

    def broken(self, part: str, how: How) -> AbstractAsyncContextManager[None]:
        """Inside the block the part is broken. It heals when the block ends, and also if this process is killed.

        Raises:
            Impossible: not this part, or not so, on this system.
            WrongState: it is broken already.
        """
        ...

    async def ready(self, part: str) -> None:
        """Returns once the part is ready; bounded by the caller."""
        ...

    async def scale(self, counts: Mapping[str, int]) -> None:
        """Run so many of each service.

        Raises:
            Impossible: not on this system.
        """
        ...

    async def run(self, program: Program) -> str:
        """What a program prints that `psql` described.

        Raises:
            ProgramFailed: it said an error.
        """
        ...
