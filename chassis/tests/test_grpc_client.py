"""gRPC channels: every call ends, in time, with its span, and whoever works for a caller that left is told."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from shop.inventory.v1 import inventory_service_pb2 as rpc
from shop.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from shop.order.v1.order_pb2 import TimelineEntry
from shop.order.v1.order_service_pb2 import WatchOrderRequest
from shop.order.v1.order_service_pb2_grpc import (
    OrderServiceServicer,
    OrderServiceStub,
    add_OrderServiceServicer_to_server,
)
from uuid_utils.compat import uuid7

from chassis import grpc_client, telemetry
from chassis.grpc_server import Interceptor
from chassis.testing import Spans, attributes, eventually, is_child, traceparent
from chassis.tests.participant import NAME, Participant, serving
from conftest import free_port

RELEASE = f"{NAME}/ReleaseStock"
WATCH = "shop.order.v1.OrderService/WatchOrder"


def release() -> rpc.ReleaseStockRequest:
    return rpc.ReleaseStockRequest(order_id=str(uuid7()))


def watch() -> WatchOrderRequest:
    return WatchOrderRequest(order_id=str(uuid7()))


async def ended(spans: Spans, name: str, kind: SpanKind) -> ReadableSpan:
    """The span of one end of a call, once it has ended."""
    found = await eventually(lambda: [span for span in spans.named(name) if span.kind is kind], seconds_max=3)
    [span] = found
    return span


class Endless(OrderServiceServicer):
    """Sends one entry after the other until nobody listens."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def WatchOrder(self, request: WatchOrderRequest, context: Any) -> AsyncIterator[TimelineEntry]:
        position = 0
        try:
            while True:
                position += 1
                yield TimelineEntry(position=position)
                await asyncio.sleep(0.01)
        finally:
            self.left.set()


@pytest.fixture
async def endless() -> AsyncIterator[tuple[Endless, OrderServiceStub]]:
    servicer, server = Endless(), grpc.aio.server(interceptors=[Interceptor(5.0)])
    add_OrderServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc_client.connect(f"127.0.0.1:{port}") as channel:
        yield servicer, OrderServiceStub(channel)
    await server.stop(0)


async def test_a_call_is_a_client_span_that_the_server_continues(spans: Spans) -> None:
    """One `traceparent` goes out, that of the CLIENT span; the server's span is its child."""
    participant = Participant()
    request = release()
    async with serving(participant) as address, grpc_client.connect(address) as channel:
        with telemetry.span("work"):
            await InventoryServiceStub(channel).ReleaseStock(request)
    call, served = await ended(spans, RELEASE, SpanKind.CLIENT), await ended(spans, RELEASE, SpanKind.SERVER)
    assert is_child(call, spans.one("work"))
    assert is_child(served, call)
    assert participant.metadata[0]["traceparent"] == traceparent(call)
    for span in (call, served):
        assert attributes(span)["rpc.system.name"] == "grpc"
        assert attributes(span)["rpc.method"] == RELEASE
        assert attributes(span)["rpc.status_code"] == "OK"
        assert span.status.status_code is StatusCode.UNSET


async def test_what_the_caller_sends_beside_it_arrives() -> None:
    """The caller's own metadata are kept."""
    participant = Participant()
    async with serving(participant) as address, grpc_client.connect(address) as channel:
        await InventoryServiceStub(channel).ReleaseStock(release(), metadata=(("caller", "ada"),))
    assert participant.metadata[0]["caller"] == "ada"


async def test_a_call_that_is_cancelled_reaches_the_server(spans: Spans) -> None:
    """Who hangs up tells the other side at once, long before the deadline, and the span of each side ends."""
    participant, told = Participant(), asyncio.Event()

    async def on_call() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.set()
            raise

    participant.on_call = on_call
    async with serving(participant) as address, grpc_client.connect(address) as channel:
        call = asyncio.ensure_future(InventoryServiceStub(channel).ReleaseStock(release(), timeout=60))
        await eventually(lambda: participant.at_work)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(2):
            await told.wait()
        for kind in (SpanKind.CLIENT, SpanKind.SERVER):
            assert attributes(await ended(spans, RELEASE, kind))["rpc.status_code"] == "CANCELLED"


async def test_a_call_has_no_more_time_than_its_deadline(spans: Spans) -> None:
    """Nobody answers: the call ends when its time is over, and its span says why."""
    participant = Participant()
    participant.answers.clear()
    async with serving(participant) as address, grpc_client.connect(address) as channel:
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await InventoryServiceStub(channel).ReleaseStock(release(), timeout=0.2)
        assert 0.15 < time.monotonic() - began < 2
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        call = await ended(spans, RELEASE, SpanKind.CLIENT)
        assert attributes(call)["error.type"] == "DEADLINE_EXCEEDED"
        assert call.status.status_code is StatusCode.ERROR
        # The server does not go on for a caller that has given up.
        await ended(spans, RELEASE, SpanKind.SERVER)
        assert participant.at_work == 0


async def test_a_call_is_not_made_when_its_caller_s_time_is_over(spans: Spans) -> None:
    """Work whose deadline has passed is dropped before it costs another service anything; the trace shows it."""
    participant = Participant()
    async with serving(participant) as address, grpc_client.connect(address) as channel:
        token = grpc_client.deadline.set(time.monotonic() - 1)
        try:
            for _ in range(20):
                with pytest.raises(grpc.aio.AioRpcError) as late:
                    await InventoryServiceStub(channel).ReleaseStock(release())
                assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        finally:
            grpc_client.deadline.reset(token)
    assert participant.asked == []
    assert len(spans.named(RELEASE)) == 20


async def test_a_server_that_is_not_there_is_told_at_once(spans: Spans) -> None:
    """UNAVAILABLE after the few tries of the retry policy, long before the deadline."""
    async with grpc_client.connect(f"127.0.0.1:{free_port()}") as channel:
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as nobody:
            await InventoryServiceStub(channel).ReleaseStock(release(), timeout=30)
    assert time.monotonic() - began < 3
    assert nobody.value.code() is grpc.StatusCode.UNAVAILABLE
    assert attributes(await ended(spans, RELEASE, SpanKind.CLIENT))["error.type"] == "UNAVAILABLE"


async def test_a_call_goes_past_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reaches the package index through a proxy does not reach the service next door through it."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with serving(Participant()) as address, grpc_client.connect(address) as channel:
        request = release()
        assert (await InventoryServiceStub(channel).ReleaseStock(request)).order_id == request.order_id


async def test_a_replica_that_comes_back_is_found_soon() -> None:
    """A channel whose server was away tries again within seconds, not minutes."""
    port = free_port()
    async with grpc_client.connect(f"127.0.0.1:{port}") as channel:
        stub = InventoryServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ReleaseStock(release())
        async with serving(Participant(), port):
            await stub.ReleaseStock(release(), wait_for_ready=True, timeout=4)


async def test_a_stream_that_is_cancelled_ends_its_spans(
    endless: tuple[Endless, OrderServiceStub], spans: Spans
) -> None:
    """A reader that leaves early ends the stream on both sides."""
    servicer, stub = endless
    call: Any = stub.WatchOrder(watch())
    assert (await anext(aiter(call))).position == 1
    call.cancel()
    await ended(spans, WATCH, SpanKind.CLIENT)
    await ended(spans, WATCH, SpanKind.SERVER)
    async with asyncio.timeout(2):
        await servicer.left.wait()


async def test_a_stream_that_runs_to_its_end_is_one_span_on_each_side(
    endless: tuple[Endless, OrderServiceStub], spans: Spans
) -> None:
    """The span lasts as long as the stream; a deadline ends both."""
    _, stub = endless
    entries: list[TimelineEntry] = []
    with pytest.raises(grpc.aio.AioRpcError) as late:
        # Long enough for a busy machine to connect: a server that never saw the call has no span of it.
        async for entry in stub.WatchOrder(watch(), timeout=1.0):
            entries.append(entry)
    assert entries
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    call, served = await ended(spans, WATCH, SpanKind.CLIENT), await ended(spans, WATCH, SpanKind.SERVER)
    assert is_child(served, call)
    assert attributes(call)["rpc.status_code"] == "DEADLINE_EXCEEDED"
    assert call.start_time is not None
    assert call.end_time is not None
    assert call.end_time - call.start_time > 100_000_000


async def test_the_channel_of_a_caller_that_retries_by_itself_does_not() -> None:
    """Two layers of retries would multiply: without the policy, one call is one attempt."""
    participant = Participant(grpc.StatusCode.UNAVAILABLE)
    async with serving(participant) as address, grpc_client.connect(address, retries=False) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await InventoryServiceStub(channel).ReleaseStock(release())
    assert len(participant.asked) == 1
