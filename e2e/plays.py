"""The scenarios of `./shop play`, each played once on a system, by the command that a person types."""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import scenarios
from infra.local.parts import ROOT

CONTAINERS_ONLY = [name for name in scenarios.NAMES if scenarios.load(name).containers_only]
# What meets the real broker, the real trace store, and containers that stop and start; `make scenarios` plays all.
ON_CONTAINERS = ("confirmed", "cancel-confirmed", "poison-message", "service-down", "broker-down")
PLAYED_THERE = [
    name for name in scenarios.NAMES if name in (*ON_CONTAINERS, *CONTAINERS_ONLY) or "ALL_SCENARIOS" in os.environ
]

Json = dict[str, Any]


@dataclass(frozen=True)
class Played:
    """How the command ended, and what it said."""

    code: int
    out: str
    errors: str

    @property
    def told(self) -> Json:
        """Its JSON."""
        assert self.code == 0, f"{self.out}\n{self.errors}"
        return json.loads(self.out)

    @property
    def trace_ids(self) -> dict[str, str]:
        """The traces that it has shown, by their titles."""
        return {each["title"]: each["traceId"] for each in self.told["traces"]}


async def command_line(environment: Mapping[str, str], *arguments: str) -> Played:
    """What `./shop` does."""
    process = await asyncio.create_subprocess_exec(
        str(ROOT / "shop"),
        *arguments,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return Played(process.returncode or 0, output.decode(), errors.decode())


class Plays:
    """One system's plays; `environment` is that in which `./shop` finds it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._played: dict[str, Played] = {}

    async def of(self, name: str) -> Played:
        """The play of this scenario, now if it was not played yet."""
        if name not in self._played:
            self._played[name] = await command_line(self._environment, "play", name, "--yes", "--json")
        return self._played[name]
