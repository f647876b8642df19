"""What compose.yaml and the images promise: least privilege, loopback, bounds, no secret, nothing undocumented."""

import json
import re
import subprocess
from typing import Any

import pytest

from infra.containers.system import ROOT

PYTHON = ("gateway", "order", "payment", "inventory", "card-network", "topics")
SCALE = ("order", "payment", "inventory")
IMAGE_MB_MAX = 250
COMPOSE = (ROOT / "compose.yaml").read_text()


def run(*arguments: str) -> str:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return json.loads(run("docker", "compose", "--profile", "*", "config", "--format", "json"))["services"]


@pytest.fixture(scope="module")
def images() -> dict[str, Any]:
    run("docker", "compose", "build", "--quiet")
    return {name: json.loads(run("docker", "image", "inspect", f"shop/{name}"))[0] for name in PYTHON}


def test_every_variable_is_documented_with_its_default() -> None:
    """`.env.example` holds each variable of `compose.yaml` once, with the value that holds without it."""
    # Where compose was called is no setting.
    used = set(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE)) - {("PWD", "")}
    documented = re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert len(documented) == len({name for name, _ in documented})
    assert set(documented) == used


@pytest.mark.docker
def test_everything_published_is_on_loopback_and_services_that_scale_publish_nothing(services: dict[str, Any]) -> None:
    """Nobody else's machine reaches a port, and a second replica never meets the first one's."""
    published = {name: service.get("ports", []) for name, service in services.items()}
    assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}
    assert [name for name in SCALE if published[name]] == []
    assert published["postgres"] == []


@pytest.mark.docker
def test_every_container_has_bounds_and_comes_back(services: dict[str, Any]) -> None:
    """A limit on its memory, and a policy for its death."""
    assert [name for name, service in services.items() if not service.get("mem_limit")] == []
    assert [name for name, service in services.items() if not service.get("restart")] == []


@pytest.mark.docker
def test_containers_may_do_little(services: dict[str, Any]) -> None:
    """No capability, no new privilege, and ours do not write to the root file system; PostgreSQL starts as root."""
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert [name for name, service in services.items() if service.get("cap_add")] == ["postgres"]
    assert [name for name in PYTHON if not services[name]["read_only"]] == []


@pytest.mark.docker
def test_the_outside_party_reaches_neither_databases_nor_kafka(services: dict[str, Any]) -> None:
    """Who could write to Kafka could say that a payment was charged."""
    outside = {name for name, service in services.items() if "outside" in service["networks"]}
    assert list(services["card-network"]["networks"]) == ["outside"]
    assert outside == {"card-network", "payment", "jaeger", "prometheus"}


@pytest.mark.docker
def test_a_service_gets_its_own_passwords_alone(services: dict[str, Any]) -> None:
    """Order cannot read payment's tables, nor can anything but PostgreSQL's own start be a superuser."""
    for name in PYTHON:
        urls = {key: value for key, value in services[name]["environment"].items() if key.startswith("DATABASE")}
        assert bool(urls) == (name in SCALE)
        assert [url for url in urls.values() if not re.match(rf"postgresql\+asyncpg://{name}(_owner)?:", url)] == []
        assert "POSTGRES_PASSWORD" not in services[name]["environment"]


@pytest.mark.docker
def test_images_are_small_run_as_nobody_special_and_hold_no_secret(images: dict[str, Any]) -> None:
    """At most 250 MB, a user without rights, no password among their variables."""
    for name, image in images.items():
        assert image["Size"] <= IMAGE_MB_MAX * 1_000_000, name
        assert image["Config"]["User"] == "shop"
        assert [each for each in image["Config"]["Env"] if "PASSWORD" in each or "DATABASE" in each] == []


@pytest.mark.docker
@pytest.mark.usefixtures("images")
def test_an_image_holds_what_its_process_needs_and_no_more() -> None:
    """Its own folder beside chassis and protos; no test, no other service, no compiler."""
    script = "find /app -mindepth 1 -maxdepth 2 -type d; find /app -name 'test_*.py'; command -v gcc cc"
    found = set(run("docker", "run", "--rm", "--entrypoint", "bash", "shop/order", "-c", f"{script} || true").split())
    found = {path for path in found if "__pycache__" not in path}
    assert found == {"/app/chassis", "/app/protos", "/app/protos/generated", "/app/services", "/app/services/order"}
