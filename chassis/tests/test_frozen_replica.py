"""A replica that stands still is noticed soon, by calls and by streams that only listen, and found again later."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest
from shop.inventory.v1.inventory_service_pb2 import ReleaseStockRequest
from shop.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from shop.order.v1.order_service_pb2 import WatchOrderRequest
from shop.order.v1.order_service_pb2_grpc import OrderServiceStub
from uuid_utils.compat import uuid7

from chassis import grpc_client
from chassis.testing import eventually
from chassis.tests.replica import Replica, replica

NOTICED_SECONDS_MAX = 15.0
# Of the servers of earlier versions, which run beside those of this one while it is rolled out.
PING_INTERVAL_MS, AGE_MS = 10_000, 30_000
# So many times faster, where only the ratios count; gRPC itself keeps more than a second between two pings.
HASTE = 8


class Watch:
    """An open stream: which replica it is with, and when and how it ended."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call: Any = OrderServiceStub(channel).WatchOrder(WatchOrderRequest(order_id=str(uuid7())), timeout=300)
        self.replica, self.ended_at, self.code = 0, 0.0, grpc.StatusCode.OK
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for entry in self._call:
                self.replica = entry.position
        except grpc.aio.AioRpcError as error:
            self.ended_at, self.code = time.monotonic(), error.code()

    async def close(self) -> None:
        self._call.cancel()
        await asyncio.wait({self._reading})


async def watches(stack: AsyncExitStack, channel: grpc.aio.Channel, replicas: list[Replica]) -> list[Watch]:
    """Streams, at least two of them with each of the replicas."""
    opened: list[Watch] = []

    async def enough() -> bool:
        opened.append(Watch(channel))
        stack.push_async_callback(opened[-1].close)
        await eventually(lambda: opened[-1].replica)
        with_each = Counter(watch.replica for watch in opened)
        return all(with_each[each.pid] >= 2 for each in replicas)

    await eventually(enough)
    return opened


async def answered_by(channel: grpc.aio.Channel) -> int:
    """The replica that answers a call, or 0 if none does within a second."""
    call: Any = InventoryServiceStub(channel).ReleaseStock(ReleaseStockRequest(order_id=str(uuid7())), timeout=1.0)
    try:
        await call
    except grpc.aio.AioRpcError:
        return 0
    return int(dict(await call.trailing_metadata())["replica"])


async def is_passed_by(channel: grpc.aio.Channel, frozen: Replica) -> bool:
    """Whether several calls in turn are all answered, and none by the frozen one."""
    return not {await answered_by(channel) for _ in range(4)} & {0, frozen.pid}


async def is_called(channel: grpc.aio.Channel, thawed: Replica) -> bool:
    return await answered_by(channel) == thawed.pid


async def test_a_frozen_replica_is_noticed_within_fifteen_seconds() -> None:
    """Streams end, calls of the gateway and of the dispatcher go to the other replica, which loses none.

    Streams are noticed too that are older than the connections on which new calls are made. When the frozen one goes
    on, it is called again.
    """
    async with AsyncExitStack() as stack:
        frozen, other = [await stack.enter_async_context(replica(PING_INTERVAL_MS, 1_000)) for _ in range(2)]
        target = f"ipv4:{frozen.address},{other.address}"
        gateway, dispatcher = [
            await stack.enter_async_context(grpc_client.connect(target, retries=retries, traced=False))
            for retries in (True, False)
        ]
        opened = await watches(stack, gateway, [frozen, other])
        # The connections of these streams are old by now, and take no more calls.
        await asyncio.sleep(1.5)
        opened += await watches(stack, gateway, [frozen, other])
        assert await answered_by(dispatcher)
        lost = [watch for watch in opened if watch.replica == frozen.pid]
        frozen.freeze()
        ends_at = time.monotonic() + NOTICED_SECONDS_MAX
        await eventually(lambda: all(watch.ended_at for watch in lost), seconds_max=NOTICED_SECONDS_MAX)
        for channel in (gateway, dispatcher):
            await eventually(
                lambda channel=channel: is_passed_by(channel, frozen), seconds_max=ends_at - time.monotonic()
            )
        assert {watch.code for watch in lost} == {grpc.StatusCode.UNAVAILABLE}
        assert [watch for watch in opened if watch.ended_at and watch not in lost] == []
        frozen.thaw()
        for channel in (gateway, dispatcher):
            await eventually(lambda channel=channel: is_called(channel, frozen), seconds_max=5)


async def test_calls_pass_a_frozen_replica_by_once_one_was_not_answered_in_time() -> None:
    """Long before gRPC notices: a new connection has to be answered before it is called on. Open calls go on."""
    async with AsyncExitStack() as stack:
        frozen, other = [await stack.enter_async_context(replica(PING_INTERVAL_MS, AGE_MS)) for _ in range(2)]
        target = f"ipv4:{frozen.address},{other.address}"
        channel = await stack.enter_async_context(grpc_client.connect(target))
        opened = await watches(stack, channel, [frozen, other])
        frozen.freeze()
        froze_at = time.monotonic()
        await eventually(lambda: is_passed_by(channel, frozen))
        assert time.monotonic() - froze_at < 8
        assert [watch for watch in opened if watch.ended_at and watch.replica == other.pid] == []
        frozen.thaw()
        await eventually(lambda: is_called(channel, frozen), seconds_max=5)


async def test_a_server_of_an_earlier_version_takes_our_pings_for_no_abuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that only listens lives on, ping after ping, where pings come sooner than data; all of it faster."""
    monkeypatch.setattr(grpc_client, "KEEPALIVE_MS", grpc_client.KEEPALIVE_MS // HASTE)
    monkeypatch.setattr(grpc_client, "KEEPALIVE_TIMEOUT_MS", 500)
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(replica(PING_INTERVAL_MS // HASTE, 600_000))
        channel = await stack.enter_async_context(grpc_client.connect(f"ipv4:{old.address}", traced=False))
        [watch, *others] = await watches(stack, channel, [old])
        # Abuse is told after the third ping that came too soon, and gRPC itself pings twice without data and no more.
        await asyncio.sleep(5 * grpc_client.KEEPALIVE_MS / 1000)
        assert [each.ended_at for each in (watch, *others)] == [0.0] * (1 + len(others))
        old.freeze()
        froze_at = time.monotonic()
        await eventually(lambda: watch.ended_at, seconds_max=NOTICED_SECONDS_MAX)
        assert watch.ended_at - froze_at < (grpc_client.KEEPALIVE_MS + grpc_client.KEEPALIVE_TIMEOUT_MS) / 1000 + 1.0
        old.thaw()
