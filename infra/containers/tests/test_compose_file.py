"""What compose.yaml and the images promise: least privilege, loopback, bounds, no secret, nothing undocumented."""

import json
import re
import subprocess
from typing import Any

import pytest

from catalogue import DEADLINES, SERVICE
from explorer.sources import listed
from infra.containers.system import ROOT

PYTHON = ("gateway", "order", "payment", "inventory", "card-network", "topics", "tools")
SCALE = tuple(SERVICE)
IMAGE_MB_MAX = 250
COMPOSE = (ROOT / "compose.yaml").read_text()


def run(*arguments: str) -> str:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return json.loads(run("docker", "compose", "--profile", "*", "config", "--format", "json"))["services"]


@pytest.fixture(scope="module")
def images() -> dict[str, Any]:
    run("docker", "compose", "--profile", "tools", "build", "--quiet")
    return {name: json.loads(run("docker", "image", "inspect", f"shop/{name}"))[0] for name in PYTHON}


def test_every_variable_is_documented_with_its_default() -> None:
    """`.env.example` holds each variable of `compose.yaml` once, with the value that holds without it."""
    # Where compose was called is no setting.
    used = set(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE)) - {("PWD", "")}
    documented = re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert len(documented) == len({name for name, _ in documented})
    assert set(documented) == used


@pytest.mark.docker
def test_everything_published_is_on_loopback(services: dict[str, Any]) -> None:
    """Nobody else's machine reaches a port; PostgreSQL's and the tools' not even this one."""
    published = {name: service.get("ports", []) for name, service in services.items()}
    assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}
    assert (published["postgres"], published["tools"]) == ([], [])


@pytest.mark.docker
def test_services_that_scale_publish_grpc_on_a_port_of_the_engines_choice(services: dict[str, Any]) -> None:
    """A single replica can be looked into, and a second one never meets the first one's port."""
    for name in SCALE:
        ports = [(port["target"], port.get("published", "")) for port in services[name]["ports"]]
        assert ports == [(SERVICE[name].grpc_port, "")]


@pytest.mark.docker
def test_every_wait_can_be_set(services: dict[str, Any]) -> None:
    """A lesson about a deadline need not take as long as the deadline does."""
    passed = {name: [key for key in services[name]["environment"] if key.endswith("_SECONDS")] for name in DEADLINES}
    assert {name: sorted(keys) for name, keys in passed.items()} == {
        name: sorted(names) for name, names in DEADLINES.items()
    }


@pytest.mark.docker
def test_the_tools_are_neither_built_nor_started_with_the_shop() -> None:
    """They are `./shop`'s, where it needs them."""
    started = json.loads(run("docker", "compose", "config", "--format", "json"))["services"]
    assert "tools" not in started


@pytest.mark.docker
def test_every_container_has_bounds_and_comes_back(services: dict[str, Any]) -> None:
    """A limit on its memory, and a policy for its death."""
    assert [name for name, service in services.items() if not service.get("mem_limit")] == []
    assert [name for name, service in services.items() if not service.get("restart")] == []


@pytest.mark.docker
def test_an_open_transaction_holds_readers_up_for_a_minute_at_most(services: dict[str, Any]) -> None:
    """Nobody reads on behind it, and a foreign producer may leave one open."""
    assert services["kafka"]["environment"]["KAFKA_TRANSACTION_MAX_TIMEOUT_MS"] == "60000"


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
    assert outside == {"card-network", "payment", "jaeger", "prometheus", "tools"}


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
def test_the_tools_image_holds_all_that_the_command_line_may_load() -> None:
    """Verbs are loaded when they are used, so that a missing package or folder would be found by a user."""
    script = (
        "import importlib, pkgutil, cli, scenarios\n"
        "names = [found.name for package in (cli, scenarios) for found in"
        " pkgutil.walk_packages(package.__path__, package.__name__ + '.')]\n"
        "for name in names: importlib.import_module(name)\n"
        "print(len(names))"
    )
    loaded = run("docker", "run", "--rm", "--network=none", "--entrypoint", "python", "shop/tools", "-c", script)
    assert int(loaded) > 20


@pytest.mark.docker
@pytest.mark.usefixtures("images")
def test_an_image_holds_what_its_process_needs_and_no_more() -> None:
    """Its own folder beside chassis and protos; no test, no other service, no compiler."""
    script = "find /app -mindepth 1 -maxdepth 2 -type d; find /app -name 'test_*.py'; command -v gcc cc"
    found = set(run("docker", "run", "--rm", "--entrypoint", "bash", "shop/order", "-c", f"{script} || true").split())
    found = {path for path in found if "__pycache__" not in path}
    assert found == {"/app/chassis", "/app/protos", "/app/protos/generated", "/app/services", "/app/services/order"}


@pytest.mark.docker
@pytest.mark.usefixtures("images")
def test_the_gateway_holds_what_spans_lead_to_as_text_that_it_cannot_import() -> None:
    """It shows every line that a span names, and runs none of another process."""
    script = (
        "import importlib.util, json\n"
        "from explorer.sources import listed\n"
        "from gateway.settings import GatewaySettings\n"
        "found = [name for name in ('services', 'infra', 'source') if importlib.util.find_spec(name)]\n"
        "print(json.dumps([found, sorted(listed(GatewaySettings().source_folder))]))"
    )
    importable, files = json.loads(
        run("docker", "run", "--rm", "--network=none", "shop/gateway", "python", "-c", script)
    )
    assert importable == []
    assert files == sorted(listed(ROOT))
