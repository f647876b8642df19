"""Clients generated from the running gateway's description place an order and see it confirmed."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from e2e.conftest import HERE, Json, Shop, embedded
from infra.system import System

CLIENTS = HERE / "clients"
LOCK = CLIENTS / "typescript" / "package-lock.json"


async def run(*command: str | Path, folder: Path, import_path: str = "") -> str:
    """What the program prints; it must succeed."""
    environment = {
        **os.environ,
        "PYTHONPATH": import_path,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), 180)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == 0, f"{command}\n{output.decode()}\n{errors.decode()}"
    return output.decode()


async def is_confirmed_in_the_shop(shop: Shop, order: Json) -> None:
    assert order["status"] == "CONFIRMED"
    assert order["total"] == {"amountMinor": "2980", "currencyCode": "EUR"}
    assert (await shop.order(order["orderId"]))["status"] == "CONFIRMED"


@embedded
async def test_with_openapi_python_client(shop: Shop, system: System, tmp_path: Path) -> None:
    """Generated without a warning; a program that uses it passes the strict type check."""
    description = f"{system.gateway_url}/openapi.json"
    package = ("--meta", "none", "--output-path", "shop_client")
    await run("openapi-python-client", "generate", "--fail-on-warning", "--url", description, *package, folder=tmp_path)
    program = "place_order.py"
    shutil.copy(CLIENTS / "python" / program, tmp_path)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"include": [program], "typeCheckingMode": "strict"}))
    await run("pyright", "--pythonpath", sys.executable, folder=tmp_path)
    answer = await run(sys.executable, program, system.gateway_url, folder=tmp_path)
    await is_confirmed_in_the_shop(shop, json.loads(answer))


@pytest.mark.node
@embedded
async def test_with_openapi_typescript_and_openapi_fetch(shop: Shop, system: System, tmp_path: Path) -> None:
    """Installed as the lock says; the program passes the strict type check."""
    folder = shutil.copytree(CLIENTS / "typescript", tmp_path / "client")
    installed = folder / "node_modules" / ".bin"
    await run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)
    await run(
        installed / "openapi-typescript", f"{system.gateway_url}/openapi.json", "--output", "schema.d.ts", folder=folder
    )
    # It writes nothing unless the types are right.
    await run(installed / "tsc", folder=folder)
    answer = await run("node", "build/place-order.js", system.gateway_url, folder=folder)
    await is_confirmed_in_the_shop(shop, json.loads(answer))


def test_the_lock_names_no_host_of_a_registry() -> None:
    """Packages come from the registry that the machine is set up for; what they must be is their hash."""
    packages: dict[str, Json] = json.loads(LOCK.read_text())["packages"]
    locked = {name: package for name, package in packages.items() if name}
    assert len(locked) > 3
    assert [name for name, package in locked.items() if "resolved" in package] == []
    assert [name for name, package in locked.items() if not package["integrity"].startswith("sha512-")] == []
