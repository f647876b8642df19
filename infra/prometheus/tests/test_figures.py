"""The figures that the rules ask for are those that the running processes export."""

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from uuid_utils.compat import uuid7

from chassis.testing import eventually
from cli.failures import Unknown
from cli.tests.commands import Commands
from infra.local.ports import Ports
from infra.local.system import System
from infra.prometheus.tests.rules import ADDED, FOLDER, rules, scraped

Samples = list[tuple[str, dict[str, str]]]


async def exported(system: System, client: httpx.AsyncClient) -> Samples:
    """Every sample of every process, under the job that Prometheus would give it."""
    found: Samples = []
    for job in scraped():
        port: int = getattr(system.ports, f"{job.replace('-', '_')}_admin")
        answer = await client.get(f"http://127.0.0.1:{port}/metrics")
        for family in text_string_to_metric_families(answer.text):
            found += [(sample.name, {**sample.labels, "job": job}) for sample in family.samples]
    return found


def missing(samples: Samples) -> list[str]:
    """What rules ask for and nobody exports: figures, with the values of their labels, and labels to group by."""
    lacking: list[str] = []
    for rule in rules():
        known = set(ADDED)
        for selector in rule.selectors:
            selected = [labels for figure, labels in samples if selector.selects(figure, labels)]
            known.update(*selected)
            if not selected:
                lacking.append(f"{rule.name}: {selector}")
        lacking += [f"{rule.name}: by {label}" for label in rule.grouped_by - known]
    return lacking


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system() -> AsyncIterator[System]:
    async with System(ports=Ports.free()) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def samples(system: System) -> Samples:
    """What is exported once an order is confirmed: what counts failures counts from zero."""
    found: Samples = []
    body = {"customerId": "ada", "cardToken": "tok_visa", "lines": [{"sku": "espresso-beans", "quantity": 1}]}
    async with httpx.AsyncClient(timeout=15) as client:
        placed = await client.post(f"{system.gateway_url}/v1/orders", json=body)
        assert placed.status_code == 202, placed.text

        async def complete() -> bool:
            found[:] = await exported(system, client)
            return not missing(found)

        # What is missing then, a test says.
        with contextlib.suppress(AssertionError):
            await eventually(complete, seconds_max=30)
    return found


def test_everything_that_the_rules_ask_for_is_exported(samples: Samples) -> None:
    """Each figure under its name, with the labels and values that the rules select and group by."""
    assert missing(samples) == []


def test_what_is_renamed_is_missed(samples: Samples) -> None:
    """A figure that has another name, and a label that has another one."""
    figures = [(figure.replace("saga_parked", "parked_sagas"), labels) for figure, labels in samples]
    assert {lacking.split(":")[0] for lacking in missing(figures)} == {"ParkedSaga"}
    labels = [
        (figure, {key.replace("group", "role"): value for key, value in labels.items()}) for figure, labels in samples
    ]
    grouped = {"ConsumerBehind", "ConsumerStuck", "DeadLetters", "KeyWaits"}
    assert {lacking.split(":")[0] for lacking in missing(labels)} == grouped


@pytest.mark.asyncio(loop_scope="module")
async def test_the_commands_of_the_readme_work(system: System, tmp_path: Path) -> None:
    """Whoever looks after a parked saga or a dead letter copies them as they stand there."""
    shop = Commands(SHOP_FOLDER=str(tmp_path), SHOP_SYSTEM="embedded")
    nobody = str(uuid7())
    commands = re.findall(r"^\./shop (.*)$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 4
    with system.found_in(tmp_path):
        for command in commands:
            said = await shop.run(*command.replace("ORDER_ID", nobody).split())
            if "ORDER_ID" in command:
                assert (said.code, said.errors) == (Unknown.exit_code, f"order {nobody} does not exist\n")
            elif "republish" in command:
                # It says beside its answer how far it has come.
                assert (said.code, "Not all" in said.errors) == (0, False)
            else:
                assert (said.code, said.errors) == (0, "")
