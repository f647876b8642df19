"""Every port is a setting, and a bad one is said by its name."""

import socket
from dataclasses import asdict, replace

import pytest

from infra.local.ports import Ports, PortsUnusable


def test_the_usual_ports_are_those_of_the_documentation() -> None:
    ports = Ports.from_environment({})
    assert (ports.gateway, ports.card_network, ports.order_grpc) == (8080, 8090, 50051)
    assert (ports.postgres, ports.otlp, ports.traces) == (5432, 4317, 16686)


def test_a_variable_moves_its_port_alone() -> None:
    ports = Ports.from_environment({"GATEWAY_PORT": "18080", "PATH": "/bin"})
    assert ports == replace(Ports(), gateway=18080)


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http", ""])
def test_what_is_no_port_is_refused_by_its_variable(text: str) -> None:
    with pytest.raises(PortsUnusable, match=f"ORDER_GRPC_PORT={text} is not a port"):
        Ports.from_environment({"ORDER_GRPC_PORT": text})


@pytest.mark.parametrize(
    ("environment", "both"),
    [
        ({"GATEWAY_PORT": "8090"}, "GATEWAY_PORT and CARD_NETWORK_PORT"),
        ({"OTLP_PORT": "9999", "ORDER_ADMIN_PORT": "9999"}, "OTLP_PORT and ORDER_ADMIN_PORT"),
    ],
)
def test_a_port_wanted_twice_is_refused_by_both_variables(environment: dict[str, str], both: str) -> None:
    """One of them may have its usual value."""
    [port] = set(environment.values())
    with pytest.raises(PortsUnusable, match=f"{both} are the same port, {port}"):
        Ports.from_environment(environment)


def test_two_parts_can_swap_their_usual_ports() -> None:
    ports = Ports.from_environment({"GATEWAY_PORT": "8090", "CARD_NETWORK_PORT": "8080"})
    assert (ports.gateway, ports.card_network) == (8090, 8080)


def test_free_ports_are_different_and_free() -> None:
    ports = Ports.free()
    assert len(set(asdict(ports).values())) == len(asdict(ports))
    ports.check_free()


def test_a_taken_port_is_said_with_the_variable_that_moves_it() -> None:
    ports = Ports.free()
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", ports.traces))
        occupant.listen()
        with pytest.raises(PortsUnusable, match=f"port {ports.traces} is already taken; .* set TRACES_PORT to another"):
            ports.check_free()
