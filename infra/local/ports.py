"""The ports of the system, each a setting of its own."""

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields

from infra.local.probes import free_ports, is_free


class PortsUnusable(Exception):
    """A port is taken, wanted twice or no port at all; the message names the settings."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """A field `name` is set by the variable `<NAME>_PORT`; the broker takes a port of its own choice."""

    gateway: int = 8080
    card_network: int = 8090
    postgres: int = 5432
    otlp: int = 4317
    traces: int = 16686
    order_grpc: int = 50051
    payment_grpc: int = 50052
    inventory_grpc: int = 50053
    gateway_admin: int = 9101
    order_admin: int = 9102
    payment_admin: int = 9103
    inventory_admin: int = 9104
    card_network_admin: int = 9105

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Ports":
        chosen = {name: environment[variable] for name, variable in _variables().items() if variable in environment}
        wrong = [f"{_variables()[name]}={text} is not a port" for name, text in chosen.items() if not _is_port(text)]
        if wrong:
            raise PortsUnusable("; ".join(wrong))
        ports = cls(**{name: int(text) for name, text in chosen.items()})
        ports._check_different()
        return ports

    @classmethod
    def free(cls) -> "Ports":
        """Ports that nobody uses now, for tests that run beside other things."""
        names = list(_variables())
        return cls(**dict(zip(names, free_ports(len(names)), strict=True)))

    def check_free(self) -> None:
        """Raises PortsUnusable, which names every port that is taken and the variable that moves it."""
        taken = [
            f"port {port} is already taken; stop what listens there, or set {variable} to another one"
            for name, variable in _variables().items()
            if not is_free(port := getattr(self, name))
        ]
        if taken:
            raise PortsUnusable("\n".join(taken))

    def _check_different(self) -> None:
        """The defaults count too: a variable may name the usual port of another part."""
        wanted: defaultdict[int, list[str]] = defaultdict(list)
        for name, variable in _variables().items():
            wanted[getattr(self, name)].append(variable)
        twice = [
            f"{' and '.join(variables)} are the same port, {port}; set one of them to another"
            for port, variables in wanted.items()
            if len(variables) > 1
        ]
        if twice:
            raise PortsUnusable("\n".join(twice))


def _variables() -> dict[str, str]:
    return {each.name: f"{each.name.upper()}_PORT" for each in fields(Ports)}


def _is_port(text: str) -> bool:
    return text.isdecimal() and 1 <= int(text) <= 65_535
