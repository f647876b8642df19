"""`shop events tail`: what is on Kafka, decoded, and nothing taken away from anybody."""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from cli.tests.commands import Commands, ended, left, line
from cli.tests.orders import COPIED, decided, plain
from infra.local.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

STORY = ["OrderPlaced", "StockReserved", "PaymentCharged", "OrderConfirmed"]


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].rpartition(".")[2] for event in events]


async def test_the_events_of_an_order_are_read_in_their_order(shop: Commands) -> None:
    """Of all topics, by time; each with its type, order, version, trace and payload."""
    order = await decided(shop)
    said = await shop.run("events", "tail", "--no-follow", "--order", order["orderId"], "--json")
    placed, *_ = said.objects
    assert (said.code, names(said.objects)) == (0, STORY)
    assert (placed["sequence"], placed["traceId"], placed["poison"]) == (1, order["traceId"], None)
    assert placed["payload"]["customerId"] == "ada"


async def test_a_person_reads_a_line_for_each(shop: Commands) -> None:
    """With the payload on demand; in a narrow terminal three lines, so that no id is cut."""
    order = await decided(shop)
    said = await shop.run("events", "tail", "payment.events", "--no-follow", "--order", order["orderId"], "--payload")
    event, payload = said.out.splitlines()
    assert event.split()[1:] == ["PaymentCharged", "order", order["orderId"], "#1", "trace", order["traceId"]]
    assert '"amountMinor": "2980"' in payload
    code, text = await shop.in_terminal(60, "events", "tail", "--no-follow", "--order", order["orderId"])
    lines = plain(text).splitlines()
    assert (code, lines[1:3]) == (0, [f"  order {order['orderId']}", f"  trace {order['traceId']}"])


async def test_what_comes_is_shown_as_it_comes(shop: Commands) -> None:
    """From now on, until so many have come."""
    tailing = await shop.start("events", "tail", "order.events", "--count", "2", "--json")
    assert tailing.stderr is not None
    async with asyncio.timeout(20):
        assert b"Waiting for what comes on order.events" in await tailing.stderr.readline()
    order = await decided(shop)
    came = [await line(tailing), await line(tailing)]
    assert names(came) == ["OrderPlaced", "OrderConfirmed"]
    assert {event["orderId"] for event in came} == {order["orderId"]}
    assert (await ended(tailing)).code == 0


async def test_poison_is_shown_as_such(shop: Commands, system: System) -> None:
    """Whatever somebody wrote: no crash, why nobody can handle it, and nothing that a terminal would obey."""
    async with AIOKafkaProducer(bootstrap_servers=system.kafka) as producer:
        raw = await producer.send_and_wait(
            "inventory.events", b"\xff\xfe", key=b"poisoned", headers=[("ce_type", b"\x1b[2J")]
        )
        null = await producer.send_and_wait("inventory.events", None, key=b"poisoned")
    said = await shop.run("events", "tail", "inventory.events", "--no-follow", "--payload")
    assert said.code == 0
    assert "\x1b" not in said.out
    for sent, reason in ((raw, "header content-type is missing"), (null, "the payload is null")):
        assert f"  poison at inventory.events/{sent.partition}/{sent.offset}: {reason}" in said.out.splitlines()
    found = (await shop.run("events", "tail", "inventory.events", "--no-follow", "--json")).objects
    assert {event["payload"] for event in found if event["poison"]} == {None}


async def test_a_topic_that_nobody_knows_is_named_and_not_made(shop: Commands, system: System) -> None:
    """Exit code 5; a mock broker makes whatever topic it is asked for, so it is not asked."""
    said = await shop.run("events", "tail", "oder.events")
    assert (said.code, said.out) == (5, "")
    assert "There is no topic oder.events; there are order.events," in said.errors
    admin = AIOKafkaAdminClient(bootstrap_servers=system.kafka)
    await admin.start()
    assert "oder.events" not in await admin.list_topics()
    await admin.close()


async def test_the_services_hear_what_is_read_meanwhile(shop: Commands, system: System) -> None:
    """It is a member of no group: with a mock broker, whose groups have one member, a service would starve."""
    tailing = await shop.start("events", "tail", "--from-beginning", "--json")
    await line(tailing)
    order = await decided(shop)
    assert (await shop.run("order", "show", order["orderId"], "--json")).json["order"]["status"] == "CONFIRMED"
    assert (await left(tailing))[0] == 141


async def test_a_reader_who_leaves_ends_it(shop: Commands) -> None:
    """`events tail | head -1`, also while nothing more comes: the exit code of a closed pipe, and not a word."""
    await decided(shop)
    tailing = await shop.start("events", "tail", "--from-beginning")
    assert tailing.stdout is not None
    async with asyncio.timeout(20):
        assert COPIED.search((await tailing.stdout.readline()).decode())
    assert await left(tailing) == (141, "")


async def test_a_broker_that_is_away_is_said_to_be(shop: Commands, system: System) -> None:
    await system.broker_down()
    try:
        said = await shop.run("events", "tail", "--no-follow")
    finally:
        await system.broker_up()
    assert (said.code, said.out) == (4, "")
    assert said.errors == f"Kafka at {system.kafka} does not answer; `./shop doctor` says more.\n"
