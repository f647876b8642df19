"""What one connection can hold of a server, and what health says to everybody who asks."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from shop.inventory.v1.inventory_service_pb2 import ReleaseStockRequest
from shop.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub

from chassis.grpc_limits import CALLS_OF_A_CONNECTION_MAX, WATCHES_OF_A_CONNECTION_MAX
from chassis.testing import eventually
from chassis.tests.participant import NAME, Participant, serving

ID = "0198c0de-0000-7000-8000-000000000001"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = [f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")]
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
Watch = Any


def channel_to(address: str) -> grpc.aio.Channel:
    """A connection of its own."""
    return grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


@pytest.fixture
async def participant() -> Participant:
    return Participant()


@pytest.fixture
async def address(participant: Participant) -> AsyncIterator[str]:
    async with serving(participant) as served:
        yield served


async def watch(channel: grpc.aio.Channel, method: str = WATCH) -> Watch:
    """A watch that has begun, or was refused."""
    call: Watch = channel.stream_stream(method)()
    # Of reflection a question that asks for nothing: its answer is an error, on a stream that goes on.
    with suppress(grpc.aio.AioRpcError):
        await call.write(b"")
        await call.read()
    return call


async def open_watches(channel: grpc.aio.Channel, count: int, *methods: str) -> tuple[list[Watch], list[Watch]]:
    """Begin so many, the methods in turn; those that are open, and those that were refused."""
    begun = [await watch(channel, methods[number % len(methods)]) for number in range(count)]
    return [call for call in begun if not call.done()], [call for call in begun if call.done()]


@pytest.mark.parametrize("methods", [[WATCH], [WATCH, *REFLECTION]], ids=["health", "health and reflection"])
async def test_a_connection_holds_few_watches(address: str, methods: list[str]) -> None:
    """Those beyond are refused at once; whoever has another connection is not concerned, and a place comes free."""
    async with channel_to(address) as channel, channel_to(address) as other:
        opened, refused = await open_watches(channel, WATCHES_OF_A_CONNECTION_MAX + 5, *methods)
        assert (len(opened), len(refused)) == (WATCHES_OF_A_CONNECTION_MAX, 5)
        for call in refused:
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "50 watches" in await call.details()
        assert not (await watch(other)).done()
        opened[0].cancel()

        async def is_free() -> bool:
            return not (await watch(channel)).done()

        await eventually(is_free)
        # What is no watch is answered as ever.
        answer = await InventoryServiceStub(channel).ReleaseStock(ReleaseStockRequest(order_id=ID))
        assert answer.order_id == ID


async def test_watches_that_send_nothing_hold_places_too(address: str) -> None:
    """Until they are ended for it."""
    async with channel_to(address) as channel:
        silent: list[Watch] = [channel.stream_stream(WATCH)() for _ in range(WATCHES_OF_A_CONNECTION_MAX)]
        await asyncio.gather(*(call.wait_for_connection() for call in silent))

        async def is_refused() -> bool:
            return (await watch(channel)).done()

        await eventually(is_refused)


async def test_a_connection_holds_so_many_calls_and_leaves_room_for_others(
    address: str, participant: Participant
) -> None:
    """What it has beyond waits on the client's side, or is refused; another connection is served at once."""
    participant.answers.clear()
    async with channel_to(address) as channel, channel_to(address) as other:
        stub, request = InventoryServiceStub(channel), ReleaseStockRequest(order_id=ID)
        # All at once, of which none is lost.
        calls = [stub.ReleaseStock(request, timeout=60) for _ in range(CALLS_OF_A_CONNECTION_MAX)]
        await eventually(lambda: participant.at_work == CALLS_OF_A_CONNECTION_MAX, seconds_max=30)
        beyond = [stub.ReleaseStock(request, timeout=60) for _ in range(50)]
        began = time.monotonic()
        health: Any = health_pb2_grpc.HealthStub(other)
        check = await health.Check(health_pb2.HealthCheckRequest())
        assert (check.status, time.monotonic() - began < 1) == (SERVING, True)
        assert participant.at_work_max == CALLS_OF_A_CONNECTION_MAX
        participant.answers.set()
        answers = await asyncio.gather(*calls)
        assert {await call.code() for call in beyond} <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert [answer.order_id for answer in answers] == [ID] * len(calls)


async def test_health_lists_what_it_knows(address: str) -> None:
    async with channel_to(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        messages: Any = health_pb2
        answer = await stub.List(messages.HealthListRequest())
    assert {name: each.status for name, each in answer.statuses.items()} == {"": SERVING, NAME: SERVING}


async def test_everybody_who_watches_is_told(participant: Participant) -> None:
    """Also those who stay when another one leaves; of a service that nobody serves, that it is unknown."""
    async with serving(participant) as address:
        channel = channel_to(address)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        calls: list[Watch] = [stub.Watch(health_pb2.HealthCheckRequest(service=NAME)) for _ in range(3)]
        assert [(await call.read()).status for call in calls] == [SERVING] * 3
        unknown: Watch = stub.Watch(health_pb2.HealthCheckRequest(service="no.Service"))
        assert (await unknown.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        calls.pop(0).cancel()
        participant.answers.clear()
        at_work = asyncio.ensure_future(InventoryServiceStub(channel).ReleaseStock(ReleaseStockRequest(order_id=ID)))
        await eventually(lambda: participant.at_work == 1)
        # Leaving the block stops the server, which tells them, and waits for the call.
        told = asyncio.gather(*(call.read() for call in calls))
        asyncio.get_running_loop().call_later(0.5, participant.answers.set)
    assert [each.status for each in await told] == [NOT_SERVING] * 2
    assert (await at_work).order_id == ID
    await channel.close()
