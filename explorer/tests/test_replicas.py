"""The replicas' figures: asked of each, side by side, and of none more often than once a second."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web

from conftest import free_port
from explorer.client import Client
from explorer.replicas import Replicas, figures
from explorer.tests.slow_server import serving
from infra.local.probes import http_ok

METRICS = """\
# HELP shop_outbox_backlog x
# TYPE shop_outbox_backlog gauge
shop_outbox_backlog{otel_scope_name="shop",otel_scope_version=""} 3.0
# TYPE shop_outbox_age_seconds histogram
shop_outbox_age_seconds_bucket{le="0.005"} 1.0
shop_outbox_age_seconds_count 1.0
# TYPE shop_dead_letters_total counter
shop_dead_letters_total{group="order.saga",otel_scope_name="shop",topic="payment.events"} 2.0
shop_dead_letters_total{group="a {b} c",topic="order.events"} 0.0
python_gc_objects_collected_total{generation="0"} 330.0
shop_consumer_lag{group="order.saga",partition="1",topic="payment.events"} 1e+06
"""


def test_only_what_the_page_shows_is_taken() -> None:
    """Without the labels that name the library."""
    assert figures(METRICS) == {
        "shop_outbox_backlog": [{"labels": {}, "value": 3.0}],
        "shop_dead_letters_total": [
            {"labels": {"group": "order.saga", "topic": "payment.events"}, "value": 2.0},
            {"labels": {"group": "a {b} c", "topic": "order.events"}, "value": 0.0},
        ],
        "shop_consumer_lag": [
            {"labels": {"group": "order.saga", "partition": "1", "topic": "payment.events"}, "value": 1e6}
        ],
    }


@pytest.fixture
async def process() -> AsyncIterator[str]:
    """A real process' admin port."""
    port = free_port()
    settings = {"ADMIN_PORT": str(port), "MODE": "works", "OTEL_EXPORTER_OTLP_ENDPOINT": ""}
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chassis.tests.program",
        env={**os.environ, "PYTHONPATH": ".:protos/generated", **settings},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(15):
        await http_ok(f"http://127.0.0.1:{port}/readyz")()
    yield f"127.0.0.1:{port}"
    started.terminate()
    assert await asyncio.wait_for(started.wait(), 10) == 0


async def asked(addresses: dict[str, str]) -> list[dict[str, Any]]:
    async with Client() as client:
        return await Replicas(addresses, client).known()


async def test_a_replica_says_how_it_is(process: str) -> None:
    """The figures are those of its admin port."""
    ready = {"shop_process_ready": [{"labels": {}, "value": 1.0}]}
    assert await asked({"order": process}) == [
        {"service": "order", "replica": process, "error": None, "figures": ready}
    ]


async def test_a_replica_that_does_not_answer_is_a_row_with_what_is_wrong(process: str, nobody: str) -> None:
    """The others are not held up, and have theirs."""
    address = "order.invalid:9100"
    found = await asked({"gateway": process, "payment": nobody, "order": address})

    rows = {row["service"]: row for row in found}
    assert (rows["gateway"]["error"], rows["payment"]["figures"], rows["order"]["figures"]) == (None, {}, {})
    assert rows["payment"]["replica"] == nobody
    assert "Connect" in rows["payment"]["error"]
    assert rows["order"]["replica"] == address
    assert "name" in rows["order"]["error"]


async def test_a_silent_replica_has_two_seconds() -> None:
    """A process whose admin port answers nothing is no process that is well."""

    async def never() -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(never) as server:
        async with asyncio.timeout(3):
            (row,) = await asked({"order": server.address})
        assert row["error"] == "no answer in time"


async def test_who_asks_at_the_same_time_shares_an_answer() -> None:
    """However many pages are open, a replica is asked once a second, and never twice at once."""

    async def answer() -> web.Response:
        await asyncio.sleep(0)
        return web.Response(text=METRICS)

    async with serving(answer) as server, Client() as client:
        replicas = Replicas({"order": server.address}, client)
        rows = await asyncio.gather(*(replicas.known() for _ in range(20)))
        assert (server.asked, server.open_max) == (1, 1)
        assert all(row == rows[0] for row in rows)
        async with asyncio.timeout(5):
            while server.asked == 1:
                await replicas.known()
                await asyncio.sleep(0.05)
        assert server.asked == 2


async def test_the_page_is_answered_with_every_replica(client: httpx.AsyncClient) -> None:
    """One row at least for each part, those that do not answer included."""
    answer = await client.get("/explorer/replicas")

    assert answer.headers["cache-control"] == "no-store"
    parts = [row["service"] for row in answer.json()["replicas"]]
    assert parts == ["gateway", "order", "payment", "inventory", "card-network"]
