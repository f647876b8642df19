"""`./shop events republish`: what Kafka has lost is told again from the outbox, and keeps nobody waiting."""

import re
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from chassis.testing import eventually
from cli.tests.commands import Commands, ended
from cli.tests.orders import decided, without
from infra.local.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Events of orders that nobody placed: inventory applies each, and changes nothing.
FILL = """
    INSERT INTO outbox (id, topic, subject, sequence, type, payload, traceparent, tracestate, created_at, published_at)
    SELECT gen_random_uuid(), 'order.events', order_id, 2, 'shop.order.v1.OrderConfirmed',
           '\\x0a24'::bytea || convert_to(order_id, 'UTF8'), '', '', moment, moment
    FROM (SELECT gen_random_uuid()::text AS order_id,
                 clock_timestamp() - interval '3 days' + n * interval '1 ms' AS moment
          FROM generate_series(1, $1) AS n) AS lost
    RETURNING id
"""
SPAN = ("--since", "73h", "--until", "71h")


@asynccontextmanager
async def tables(system: System, service: str) -> AsyncGenerator[asyncpg.Connection]:
    connection: asyncpg.Connection = await asyncpg.connect(system.database_url(service).replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


async def told(system: System, ids: list[Any]) -> int:
    """How many of these events inventory has applied."""
    async with tables(system, "inventory") as connection:
        [row] = await connection.fetch("SELECT count(*) FROM inbox WHERE message_id = ANY($1)", ids)
    return row[0]


async def test_what_kafka_has_lost_is_told_again_and_acted_upon(shop: Commands, system: System) -> None:
    """A cancel that nobody heard: refund and goods follow once it is told again; a second time changes nothing."""
    order_id = (await decided(shop))["orderId"]
    async with without(system, "broker", "down"):
        assert (await shop.run("order", "cancel", order_id)).code == 0
        async with tables(system, "order") as connection:
            # Kafka had it, and its disk has not: the row says published, and no topic has the event.
            lost = "UPDATE outbox SET published_at = clock_timestamp() WHERE subject = $1 AND published_at IS NULL"
            assert await connection.execute(lost, order_id) == "UPDATE 1"
    said = await shop.run("events", "republish", "order", "--since", "5m", "--json")
    assert (said.code, said.json["service"], said.json["sent"] >= 3) == (0, "order", True)

    async def states() -> tuple[str, str]:
        async with httpx.AsyncClient(base_url=system.gateway_url) as client:
            payment = (await client.get(f"/v1/payments/{order_id}")).json()
            reservation = (await client.get(f"/v1/reservations/{order_id}")).json()
        return payment["state"], reservation["state"]

    async def undone() -> bool:
        return await states() == ("REFUNDED", "RETURNED")

    await eventually(undone, seconds_max=20)
    again = await shop.run("events", "republish", "order", "--since", "5m")
    assert again.code == 0
    assert re.fullmatch(r"\d+ events of order were sent again\.\n", again.out)
    assert await states() == ("REFUNDED", "RETURNED")


async def test_events_of_today_wait_for_at_most_a_second(shop: Commands, system: System) -> None:
    """Orders that are placed meanwhile ship nearly as soon as without; the span is told whole."""
    async with tables(system, "order") as connection:
        ids = [row["id"] for row in await connection.fetch(FILL, 1000)]
    usual = max([await seconds_to_ship(system) for _ in range(3)])
    republishing = await shop.start("events", "republish", "order", *SPAN, "--json")
    waits: list[float] = []
    while republishing.returncode is None and not republishing.stdout.at_eof():  # pyright: ignore[reportOptionalMemberAccess]
        waits.append(await seconds_to_ship(system))
        if await told(system, ids) == len(ids):
            break
    said = await ended(republishing)
    assert (said.code, said.json["sent"]) == (0, len(ids))
    assert await told(system, ids) == len(ids)
    assert f" of {len(ids)} sent, up to " in said.errors
    assert len(waits) > 2
    assert max(waits) <= usual + 1.0
    await forget(system, ids)


async def test_who_interrupts_it_is_told_how_to_go_on(shop: Commands, system: System) -> None:
    """What the last line says tells the rest; what is told twice is applied once."""
    async with tables(system, "order") as connection:
        ids = [row["id"] for row in await connection.fetch(FILL, 300)]
    republishing = await shop.start("events", "republish", "order", *SPAN)

    async def begun() -> bool:
        return await told(system, ids) > 0

    await eventually(begun, seconds_max=20)
    republishing.send_signal(signal.SIGINT)
    said = await ended(republishing)
    assert said.code == 130
    [command] = re.findall(r"^Not all were sent\. Go on with: \./shop (.*)$", said.errors, re.MULTILINE)
    assert (await shop.run(*command.split())).code == 0

    async def whole() -> bool:
        return await told(system, ids) == len(ids)

    await eventually(whole, seconds_max=20)
    await forget(system, ids)


async def test_what_is_pruned_cannot_be_told_again_and_that_is_said(shop: Commands) -> None:
    """An outbox keeps what was published for its retention; the oldest that it has is named."""
    await decided(shop)
    said = await shop.run("events", "republish", "payment", "--since", "2020-01-01", "--until", "2020-01-02")
    assert (said.code, said.out) == (0, "0 events of payment were sent again.\n")
    assert said.errors.startswith("The oldest event that the outbox still has is of ")


async def test_a_moment_that_is_none_is_refused(shop: Commands) -> None:
    said = await shop.run("events", "republish", "order", "--since", "yesterday")
    assert (said.code, "'yesterday' is no moment, such as" in said.errors) == (2, True)


async def seconds_to_ship(system: System) -> float:
    """From the POST of an order to the departure of its goods, which inventory hears of from order.events."""
    began = time.monotonic()
    body = {"customerId": "ada", "cardToken": "tok_visa", "lines": [{"sku": "espresso-beans", "quantity": 1}]}
    async with httpx.AsyncClient(base_url=system.gateway_url, timeout=15) as client:
        order_id = (await client.post("/v1/orders", json=body)).json()["orderId"]

        async def shipped() -> bool:
            reservation = await client.get(f"/v1/reservations/{order_id}")
            return reservation.status_code == 200 and reservation.json()["state"] == "SHIPPED"

        await eventually(shipped, seconds_max=30)
    return time.monotonic() - began


async def forget(system: System, ids: list[Any]) -> None:
    """Other tests read what is on the outbox too."""
    async with tables(system, "order") as connection:
        await connection.execute("DELETE FROM outbox WHERE id = ANY($1)", ids)
