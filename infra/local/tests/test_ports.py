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
