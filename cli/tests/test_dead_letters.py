"""`shop dead-letters`: what could not be handled, and the way back."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from chassis.testing import eventually
from cli.tests.commands import Commands
from cli.tests.orders import plain
from infra.local.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")

Letter = dict[str, Any]


async def listed(shop: Commands, topic: str, order_id: str = "") -> list[Letter]:
    letters = (await shop.run("dead-letters", "list", topic, "--json")).json
    return [letter for letter in letters if order_id in ("", letter["orderId"])]


async def died(shop: Commands, topic: str, order_id: str, count: int) -> list[Letter]:
    """The dead letters about an order, once there are so many."""

    async def look() -> list[Letter]:
        found = await listed(shop, topic, order_id)
        return found if len(found) == count else []

    return await eventually(look, seconds_max=30)


async def corrupt(shop: Commands, system: System) -> list[Letter]:
    """An event that no group can decode: one letter for each of the two that hear the topic."""
    order_id = str(uuid4())
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid4()),
        "ce_type": "shop.order.v1.OrderCancelled",
        "ce_source": "order",
        "ce_subject": order_id,
        "ce_time": "2026-11-27T10:00:00Z",
        "ce_sequence": "1",
        "content-type": "application/protobuf",
    }
    async with AIOKafkaProducer(bootstrap_servers=system.kafka) as producer:
        sent = [(name, value.encode()) for name, value in headers.items()]
        await producer.send_and_wait("order.events", b"\xff\xff", key=order_id.encode(), headers=sent)
    return await died(shop, "order.events", order_id, 2)


async def test_a_reservation_that_nobody_ordered_becomes_a_dead_letter(shop: Commands) -> None:
    """Something was taken for no order, so somebody has to look; that something was given back needs no one."""
    held, released = str(uuid4()), str(uuid4())
    lines = '[{"sku": "grinder", "quantity": 1}]'
    await shop.run("call", "inventory/ReserveStock", f'{{"orderId": "{held}", "lines": {lines}}}')
    await shop.run("call", "inventory/ReleaseStock", f'{{"orderId": "{released}"}}')
    [letter] = await died(shop, "inventory.events", held, 1)
    assert (letter["group"], letter["type"]) == ("order.saga", "shop.inventory.v1.StockReserved")
    assert "does not exist" in letter["reason"]
    assert await listed(shop, "inventory.events", released) == []


async def test_a_dead_letter_is_shown_with_all_that_is_known(shop: Commands, system: System) -> None:
    """Why, where it was, its headers, and of its payload what decodes."""
    letter, _ = await corrupt(shop, system)
    shown = (await shop.run("dead-letters", "show", letter["id"], "--json")).json
    assert shown["headers"]["ce_subject"] == letter["orderId"]
    assert shown["headers"]["dead_group"] == letter["group"]
    assert (shown["payload"], shown["bytes"]) == (None, 2)
    said = await shop.run("dead-letters", "show", letter["id"])
    assert said.out.startswith(f"Dead letter {letter['id']}: waiting\n")
    assert "  2 bytes that do not decode: the payload is no shop.order.v1.OrderCancelled" in said.out


async def test_a_letter_is_sent_back_once(shop: Commands, system: System) -> None:
    """With the twin that the other group made of the same message; it dies again, which makes new letters."""
    first, twin = await corrupt(shop, system)
    sent = await shop.run("dead-letters", "redrive", first["id"])
    assert (sent.code, sent.out) == (0, "1 message was sent back to order.events.\n")
    again = await died(shop, "order.events", first["orderId"], 4)
    assert [letter["redriven"] for letter in again] == [True, True, False, False]
    for letter in (first, twin):
        refused = await shop.run("dead-letters", "redrive", letter["id"])
        assert (refused.code, "was sent back already" in refused.errors) == (6, True)
    assert len(await listed(shop, "order.events", first["orderId"])) == 4


async def test_a_topic_is_sent_back_without_what_was_sent_by_itself(shop: Commands, system: System) -> None:
    """Every message that waits comes back once, whichever name the topic is called by."""
    await shop.run("dead-letters", "redrive", "order.events")
    one, _ = await corrupt(shop, system)
    other, _ = await corrupt(shop, system)
    waiting = {letter["orderId"] for letter in await listed(shop, "order.events") if not letter["redriven"]}
    assert (await shop.run("dead-letters", "redrive", one["id"])).code == 0
    await died(shop, "order.events", one["orderId"], 4)
    sent = (await shop.run("dead-letters", "redrive", "order.events.dead", "--json")).json
    # The one that was sent by itself has died again meanwhile, so it waits too.
    assert sent == {"topic": "order.events", "sent": len(waiting), "passedOver": {}}
    await died(shop, "order.events", one["orderId"], 6)
    await died(shop, "order.events", other["orderId"], 4)


async def test_a_letter_that_cannot_be_read_is_passed_over(shop: Commands, system: System) -> None:
    """The others are sent; what was left, and why, is said."""
    await shop.run("dead-letters", "redrive", "inventory.events")
    async with AIOKafkaProducer(bootstrap_servers=system.kafka) as producer:
        for headers in ([("dead_partition", None)], [("dead_group", b"\xff")], [("dead_partition", b"7")]):
            sent = await producer.send_and_wait("inventory.events.dead", b"", key=b"a", headers=headers)
    told = (await shop.run("dead-letters", "redrive", "inventory.events", "--json")).json
    reasons = ["header 'dead_partition' is null", "header 'dead_group' is not UTF-8"]
    assert (told["sent"] >= 1, told["passedOver"]) == (True, dict.fromkeys(reasons, 1))
    said = await shop.run("dead-letters", "redrive", "inventory.events")
    assert said.code == 0
    assert said.out.endswith(f"2 letters were passed over:\n  1 × {reasons[0]}\n  1 × {reasons[1]}\n")
    one = f"inventory.events/{sent.partition}/{sent.offset - 1}"
    refused = await shop.run("dead-letters", "redrive", one)
    assert (refused.code, "was passed over: header 'dead_group' is not UTF-8" in refused.errors) == (6, True)
    assert (await shop.run("dead-letters", "show", one)).code == 0


async def test_a_redrive_can_be_found_in_the_trace_store(shop: Commands, system: System) -> None:
    """It is a trace of its own, that links to the one the message died in."""
    first, _ = await corrupt(shop, system)
    assert (await shop.run("dead-letters", "redrive", first["id"])).code == 0

    async def look() -> Any:
        async with httpx.AsyncClient(base_url=system.traces_url) as store:
            query = {"query.service_name": "command-line", "query.operation_name": "redrive order.events"}
            now = datetime.now(UTC)
            query["query.start_time_min"] = (now - timedelta(minutes=5)).isoformat()
            query["query.start_time_max"] = (now + timedelta(minutes=5)).isoformat()
            answer = await store.get("/api/v3/traces", params=query)
            return first["orderId"] in answer.text

    assert await eventually(look)


async def test_without_kafka_a_redrive_says_so_in_one_line(shop: Commands, system: System) -> None:
    """And by its exit code, whether it is a topic or a letter."""
    await system.broker_down()
    try:
        for what in ("order.events", "order.events/0/1"):
            said = await shop.run("dead-letters", "redrive", what)
            assert (said.code, said.out) == (2, "")
            assert said.errors == f"Kafka at {system.kafka} does not answer; `./shop doctor` says more.\n"
    finally:
        await system.broker_up()


async def test_where_nothing_died_there_is_nothing_to_send(shop: Commands) -> None:
    """That is no failure."""
    assert (await shop.run("dead-letters", "redrive", "payment.events", "--json")).json["sent"] == 0
    said = await shop.run("dead-letters", "redrive", "payment.events")
    assert (said.code, said.out) == (0, "No dead letter of payment.events waits.\n")


@pytest.mark.parametrize("verb", ["show", "redrive"])
@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("order.events/0/4711", 5, "There is no dead letter order.events/0/4711"),
        ("oder.events/0/1", 5, "There is no topic oder.events"),
        ("order.events/x", 2, "is no dead letter's id, which is TOPIC/PARTITION/OFFSET"),
    ],
)
async def test_what_is_no_dead_letter_is_named(shop: Commands, verb: str, what: str, code: int, said: str) -> None:
    refused = await shop.run("dead-letters", verb, what)
    assert (refused.code, refused.out, said in refused.errors) == (code, "", True)


async def test_in_a_narrow_terminal_the_ids_stay_whole(shop: Commands, system: System) -> None:
    """Each on a line of its own, with the rest below it."""
    letters = await corrupt(shop, system)
    code, text = await shop.in_terminal(60, "dead-letters", "list", "order.events")
    lines = plain(text).splitlines()
    assert code == 0
    assert {letter["id"] for letter in letters} <= set(lines)


async def test_two_who_redrive_at_once_lose_nothing(shop: Commands, system: System) -> None:
    """Either may send a message, both at worst, which the inbox would make harmless; none is left behind."""
    await corrupt(shop, system)
    sent = await asyncio.gather(*(shop.run("dead-letters", "redrive", "order.events", "--json") for _ in range(2)))
    assert [each.code for each in sent] == [0, 0]
    assert sum(each.json["sent"] for each in sent) >= 1
