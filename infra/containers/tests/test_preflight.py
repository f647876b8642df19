"""What keeps the containers from starting is said in one line, before anything is started."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from conftest import free_port
from infra.containers.system import ROOT


def preflight(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "infra" / "preflight"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def free_ports() -> dict[str, str]:
    names = ("GATEWAY_PORT", "JAEGER_PORT", "KAFKA_PORT", "CARD_NETWORK_PORT")
    return {name: str(free_port()) for name in names}


def with_tools(folder: Path, docker: str | None) -> str:
    """A PATH with the system's tools, and with a docker of ours or none."""
    for tool in ("bash", "dirname", "grep", "head", "printf", "sed", "sort", "tr"):
        found = next(place for place in ("/bin", "/usr/bin") if (Path(place) / tool).exists())
        (folder / tool).symlink_to(Path(found) / tool)
    if docker is not None:
        (folder / "docker").write_text(docker)
        (folder / "docker").chmod(0o755)
    return str(folder)


@pytest.mark.docker
def test_free_ports_and_a_new_compose_are_fine() -> None:
    """Nothing is said when nothing is in the way."""
    done = preflight(**free_ports())
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.docker
def test_a_port_already_taken_is_named_with_its_setting() -> None:
    """The setting is what a person can change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = preflight(**free_ports() | {"JAEGER_PORT": port})
    assert done.returncode == 1
    assert done.stderr == (
        f"port {port} is already taken: stop what listens there, or set JAEGER_PORT in .env to another one\n"
    )


@pytest.mark.docker
def test_a_password_that_is_no_part_of_a_url_is_named() -> None:
    """With an @ in it the service would look for another host."""
    done = preflight(**free_ports(), ORDER_PASSWORD="p@ss/word")
    assert done.returncode == 1
    assert done.stderr.startswith("ORDER_PASSWORD holds more than")
    assert done.stderr.count("\n") == 1
    assert "p@ss" not in done.stderr


@pytest.mark.docker
def test_an_engine_that_does_not_answer_is_named() -> None:
    """And the way that needs none."""
    done = preflight(DOCKER_HOST="tcp://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("no Docker engine answers")
    assert "make demo" in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_docker_is_named(tmp_path: Path) -> None:
    """With where to get it."""
    done = preflight(PATH=with_tools(tmp_path, None))
    assert done.returncode == 1
    assert done.stderr.startswith("Docker is not installed")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("version", ["1.29.2", "2.17.3", "v2.3.0"])
def test_an_old_compose_is_named(tmp_path: Path, version: str) -> None:
    """Older ones read compose.yaml otherwise, or not at all; 2.3 is older than 2.20."""
    script = f'#!/bin/bash\n[ "$1" = compose ] && echo {version} || echo 28.0.0\n'
    done = preflight(PATH=with_tools(tmp_path, script))
    assert done.returncode == 1
    assert done.stderr.startswith(f"docker compose 2.20 or newer is needed, this is {version.lstrip('v')}")
    assert done.stderr.count("\n") == 1
