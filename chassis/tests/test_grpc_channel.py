"""A channel finds a service again soon, however long its name was unknown, and cuts off no call meanwhile."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from shop.inventory.v1 import inventory_service_pb2 as rpc
from shop.inventory.v1.inventory_service_pb2_grpc import (
    InventoryServiceStub,
    add_InventoryServiceServicer_to_server,
)
from uuid_utils.compat import uuid7

from chassis import grpc_channel, grpc_client
from chassis.grpc_channel import RedialledChannel
from chassis.testing import eventually
from chassis.tests.name_server import NameServer, naming
from chassis.tests.participant import NAME, Participant, serving
from conftest import free_port

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
LOST = grpc.ChannelConnectivity.TRANSIENT_FAILURE


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    async with naming() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call on a lost channel dials, so that no test has to wait for the next one that may."""
    monkeypatch.setattr(grpc_channel, "DIAL_SECONDS_MIN", 0.0)


class Drained:
    """A server that still works on its calls, and may say that it takes no new ones."""

    def __init__(self) -> None:
        self.participant, self.health = Participant(), HealthServicer()
        self.server = grpc.aio.server()
        add_InventoryServiceServicer_to_server(self.participant, self.server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def says(self, status: Any) -> None:
        await self.health.set("", status)


@pytest.fixture
async def drained() -> AsyncIterator[Drained]:
    drained = Drained()
    await drained.says(SERVING)
    await drained.server.start()
    yield drained
    await drained.server.stop(0)


def release() -> rpc.ReleaseStockRequest:
    return rpc.ReleaseStockRequest(order_id=str(uuid7()))


async def is_accepted(stub: InventoryServiceStub) -> bool:
    try:
        await stub.ReleaseStock(release())
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        return False
    return True


async def test_a_service_is_found_soon_after_its_name_was_unknown_for_long(names: NameServer) -> None:
    """By itself gRPC would not ask for the name for five seconds after it has asked in vain five times."""
    port = free_port()
    async with serving(Participant(), port), grpc_client.connect(names.target(port)) as channel:
        stub = InventoryServiceStub(channel)

        async def was_asked_in_vain() -> bool:
            assert not await is_accepted(stub)
            return names.asked >= 5

        await eventually(was_asked_in_vain, seconds_max=20)
        names.is_known = True
        began = time.monotonic()
        await eventually(lambda: is_accepted(stub), seconds_max=20)
        assert time.monotonic() - began < 2.5


@pytest.mark.usefixtures("impatient")
async def test_a_service_that_could_not_be_reached_is_found_by_the_first_call() -> None:
    """By itself gRPC would not connect for a second after it has failed seven times, and fail each call meanwhile."""
    port, reached, loop = free_port(), 0, asyncio.get_running_loop()

    def hang_up() -> None:
        nonlocal reached
        reached += 1
        listener.accept()[0].close()

    async with grpc_client.connect(f"127.0.0.1:{port}", retries=False) as channel:
        stub = InventoryServiceStub(channel)

        async def was_reached_in_vain() -> bool:
            assert not await is_accepted(stub)
            return reached >= 7

        # Keeps a lost channel open, whose connections no other may share.
        patient = asyncio.ensure_future(stub.ReleaseStock(release(), wait_for_ready=True, timeout=20))
        with socket.create_server(("127.0.0.1", port)) as listener:
            loop.add_reader(listener, hang_up)
            await eventually(was_reached_in_vain, seconds_max=20)
            loop.remove_reader(listener)
        async with serving(Participant(), port):
            assert await is_accepted(stub)
            await patient


@pytest.mark.usefixtures("impatient")
async def test_the_first_call_on_a_new_connection_waits_for_it(names: NameServer) -> None:
    """Calls of each kind, made by who has called before: none fails because the connection is still being made."""
    port = free_port()
    async with serving(Participant(), port), grpc_client.connect(names.target(port), retries=False) as channel:
        raw = channel.unary_unary(f"/{NAME}/ReleaseStock")
        health: Any = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await raw(release().SerializeToString())
        with pytest.raises(grpc.aio.AioRpcError):
            await anext(aiter(health.Watch(health_pb2.HealthCheckRequest())))
        names.is_known = True
        stream = health.Watch(health_pb2.HealthCheckRequest())
        answers = await asyncio.gather(*(raw(release().SerializeToString()) for _ in range(20)))
        assert all(answers)
        assert (await anext(aiter(stream))).status == SERVING
        stream.cancel()


async def test_calls_do_not_wait_long_for_a_connection_that_does_not_come(names: NameServer) -> None:
    """A service that stands still: the machine takes the connection, and nobody says a word on it."""
    names.is_known = True
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with grpc_client.connect(names.target(silent.getsockname()[1])) as channel:
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(grpc.aio.AioRpcError) as nobody:
                    await InventoryServiceStub(channel).ReleaseStock(release(), timeout=30)
                assert nobody.value.code() is grpc.StatusCode.UNAVAILABLE
                assert time.monotonic() - began < 5


async def test_an_unknown_name_is_asked_for_at_most_once_a_second(
    names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many calls are made: those in between fail at once."""
    monkeypatch.setattr(grpc_channel, "DIAL_SECONDS_MIN", 60.0)
    async with grpc_client.connect(names.target(1)) as channel:
        assert isinstance(channel, RedialledChannel)
        stub, inner = InventoryServiceStub(channel), channel.inner()
        for _ in range(100):
            assert not await is_accepted(stub)
        assert channel.inner() is inner
        monkeypatch.undo()
        await eventually(lambda: channel.inner() is not inner, seconds_max=3)


@pytest.mark.usefixtures("impatient")
async def test_calls_of_a_lost_connection_go_on_to_their_end(drained: Drained) -> None:
    """A replica that takes no new calls works on; when it takes some again, they are made there."""
    drained.participant.answers.clear()
    async with grpc_client.connect(f"127.0.0.1:{drained.port}", retries=False) as channel:
        stub = InventoryServiceStub(channel)
        request = release()
        open_call = asyncio.ensure_future(stub.ReleaseStock(request, timeout=20))
        await eventually(lambda: drained.participant.at_work)
        await drained.says(NOT_SERVING)
        await eventually(lambda: channel.get_state() is LOST)
        for _ in range(3):
            assert not await is_accepted(stub)
        drained.participant.answers.set()
        assert (await open_call).order_id == request.order_id
        await drained.says(SERVING)
        await eventually(lambda: is_accepted(stub), seconds_max=3)


@pytest.mark.usefixtures("impatient")
async def test_a_closed_channel_leaves_no_call_behind(drained: Drained) -> None:
    """Neither on the connection that it has, nor on one that it had."""
    drained.participant.answers.clear()
    channel = grpc_client.connect(f"127.0.0.1:{drained.port}", retries=False)
    stub = InventoryServiceStub(channel)
    first = asyncio.ensure_future(stub.ReleaseStock(release(), timeout=60))
    await eventually(lambda: drained.participant.at_work)
    await drained.says(NOT_SERVING)
    await eventually(lambda: channel.get_state() is LOST)
    assert not await is_accepted(stub)
    await drained.says(SERVING)
    second = asyncio.ensure_future(stub.ReleaseStock(release(), timeout=60))
    await eventually(lambda: drained.participant.at_work == 2)
    await channel.close()
    for call in (first, second):
        with pytest.raises(asyncio.CancelledError):
            await call
    await eventually(lambda: drained.participant.at_work == 0)
    with pytest.raises(grpc.aio.UsageError):
        await stub.ReleaseStock(release())
