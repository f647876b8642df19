"""Somebody writes nonsense to a topic."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from e2e.conftest import Shop

POISON = {
    "undecodable": (b"\xff\xff\xff", "shop.inventory.v1.StockReserved"),
    "of an unknown type": (b"", "shop.inventory.v1.StockEaten"),
    # With its headers nearly 1 MiB, the most that a broker takes by default; dead it is a little larger.
    "as large as can be": (b"\xff" * 1_048_000, "shop.inventory.v1.StockReserved"),
}


@pytest.mark.parametrize("kind", POISON)
async def test_a_poison_message_does_not_block_the_next(shop: Shop, kind: str) -> None:
    """It goes to the dead letters with its reason, and orders go on being confirmed."""
    value, event_type = POISON[kind]
    headers = {
        "ce_specversion": "1.0",
        "ce_id": "0198c0de-0000-7000-8000-000000000001",
        "ce_type": event_type,
        "ce_source": "inventory",
        "ce_subject": "nobody",
        "ce_time": "2026-01-01T00:00:00+00:00",
        "ce_sequence": "1",
        "content-type": "application/protobuf",
    }
    producer = AIOKafkaProducer(bootstrap_servers=shop.system.kafka)
    await producer.start()
    try:
        sent = await producer.send_and_wait(
            "inventory.events",
            value,
            key=kind.encode(),
            headers=[(name, text.encode()) for name, text in headers.items()],
        )
    finally:
        await producer.stop()
    dead = AIOKafkaConsumer(
        "inventory.events.dead",
        bootstrap_servers=shop.system.kafka,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await dead.start()
    try:
        async with asyncio.timeout(20):
            async for record in dead:
                if record.key == kind.encode():
                    break
            else:
                pytest.fail("the topic ended")
    finally:
        await dead.stop()
    found = dict(record.headers)
    assert record.value == value
    assert found["dead_offset"] == str(sent.offset).encode()
    assert found["dead_group"] == b"order.saga"
    assert found["dead_reason"]
    assert found["ce_id"] == headers["ce_id"].encode()
    placed = await shop.place()
    assert (await shop.ended(placed["orderId"]))["status"] == "CONFIRMED"
