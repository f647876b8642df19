"""What a test or a benchmark may ask of the running shop, whether it runs embedded or in containers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the part began, and the memory it holds now, in bytes."""

    cpu_seconds: float
    memory_bytes: int

    def since(self, earlier: "Usage") -> "Usage":
        """The CPU spent since then; the memory is that of now."""
        return Usage(self.cpu_seconds - earlier.cpu_seconds, self.memory_bytes)


class System(Protocol):
    """Parts are named gateway, order, payment, inventory, card-network; the stores by what they are."""

    @property
    def gateway_url(self) -> str: ...

    @property
    def traces_url(self) -> str:
        """Answers `/api/v3/traces/{id}` as Jaeger does."""
        ...

    @property
    def card_network_url(self) -> str: ...

    @property
    def kafka(self) -> str:
        """The bootstrap servers of the broker, as this machine reaches them."""
        ...

    def search(self, service: str, tags: Mapping[str, str], operation: str = "") -> tuple[str, dict[str, Any]]:
        """The path and the query that ask the trace store for a service's traces with these tags on such a span."""
        ...

    async def kill(self, name: str) -> None:
        """SIGKILL, and a restart at once: see `ready`. Of a part with replicas the first is taken."""
        ...

    async def ready(self, name: str) -> None:
        """Returns when the part is ready, again if it died."""
        ...

    async def pause(self, name: str) -> None:
        """Freeze the part, as SIGSTOP does."""
        ...

    async def resume(self, name: str) -> None: ...

    async def usage(self) -> dict[str, Usage]:
        """What each part uses now; of a part with replicas, the sum."""
        ...
