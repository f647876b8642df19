"""The broker process speaks Kafka, can be broken and mended, and ends with whoever started it."""

import asyncio
import json
import logging
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

TOPIC = "order.events"
PARTITIONS = 4


async def ask(process: Process, command: str | None = None) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    if command is not None:
        process.stdin.write(command.encode() + b"\n")
    async with asyncio.timeout(10):
        return json.loads(await process.stdout.readline())


@pytest.fixture
async def broker() -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.local.broker", stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    yield process
    if process.returncode is None:
        process.kill()
    await process.wait()


def producer_of(bootstrap_servers: str) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True, request_timeout_ms=2_000
    )


def consumer_of(bootstrap_servers: str, group: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap_servers,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=50,
        isolation_level="read_committed",
        # The mock broker lets the next member of a group wait for nearly this long.
        session_timeout_ms=1_500,
        heartbeat_interval_ms=500,
    )


async def test_what_is_produced_is_consumed_by_every_group(broker: Process) -> None:
    """Keys, headers and order survive; the topic came to be by itself, with its partitions."""
    servers = (await ask(broker))["bootstrap_servers"]
    async with producer_of(servers) as producer:
        for number in range(5):
            await producer.send_and_wait(TOPIC, b"%d" % number, key=b"one", headers=[("ce_id", b"%d" % number)])
        assert await producer.partitions_for(TOPIC) == set(range(PARTITIONS))
    for group in ("order.saga", "payment.refunds"):
        async with consumer_of(servers, group) as consumer, asyncio.timeout(10):
            records = [await consumer.getone() for _ in range(5)]
        assert [record.value for record in records] == [b"0", b"1", b"2", b"3", b"4"]
        assert records[3].headers == (("ce_id", b"3"),)


async def test_committed_offsets_outlive_their_consumer(broker: Process) -> None:
    servers = (await ask(broker))["bootstrap_servers"]
    async with producer_of(servers) as producer:
        await producer.send_and_wait(TOPIC, b"first", partition=0)
        await producer.send_and_wait(TOPIC, b"second", partition=0)
    async with consumer_of(servers, "group") as consumer, asyncio.timeout(10):
        await consumer.getone()
        await consumer.commit({TopicPartition(TOPIC, 0): 1})
    async with consumer_of(servers, "group") as consumer, asyncio.timeout(10):
        assert (await consumer.getone()).value == b"second"


async def test_a_broker_that_is_down_refuses_and_forgets_nothing(
    broker: Process, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage: a send fails while the broker is down; once it is up, old and new messages are there."""
    caplog.set_level(logging.CRITICAL, logger="aiokafka")
    servers = (await ask(broker))["bootstrap_servers"]
    async with producer_of(servers) as producer:
        await producer.send_and_wait(TOPIC, b"before", partition=0)
        assert await ask(broker, "down") == {"is_up": False}
        sending = asyncio.ensure_future(producer.send_and_wait(TOPIC, b"during", partition=0))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(sending), 0.5)
        assert await ask(broker, "up") == {"is_up": True}
        async with asyncio.timeout(10):
            await sending
    async with consumer_of(servers, "group") as consumer, asyncio.timeout(10):
        assert [(await consumer.getone()).value for _ in range(2)] == [b"before", b"during"]


async def test_a_partition_without_a_leader_takes_nothing_and_the_others_do(
    broker: Process, caplog: pytest.LogCaptureFixture
) -> None:
    """The leader of one partition goes and comes back; what was sent to it meanwhile arrives then."""
    caplog.set_level(logging.CRITICAL, logger="aiokafka")
    servers = (await ask(broker))["bootstrap_servers"]
    async with producer_of(servers) as producer:
        await producer.send_and_wait(TOPIC, b"before", partition=0)
        assert await ask(broker, f"leader {TOPIC} 0 -1") == {"leader": -1}
        sending = asyncio.ensure_future(producer.send_and_wait(TOPIC, b"during", partition=0))
        await asyncio.wait_for(producer.send_and_wait(TOPIC, b"beside", partition=1), 5)
        assert not sending.done()
        assert await ask(broker, f"leader {TOPIC} 0 1") == {"leader": 1}
        async with asyncio.timeout(10):
            await sending


async def test_an_unknown_command_is_answered(broker: Process) -> None:
    await ask(broker)
    assert await ask(broker, "sideways") == {"error": "unknown command: sideways"}


async def test_the_broker_ends_when_its_input_does(broker: Process) -> None:
    """It cannot outlive whoever holds the other end of the pipe."""
    await ask(broker)
    assert broker.stdin is not None
    broker.stdin.close()
    async with asyncio.timeout(10):
        assert await broker.wait() == 0
