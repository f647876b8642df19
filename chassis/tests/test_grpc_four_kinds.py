"""Requests and responses may be one or a stream: all four kinds of calls get the same on both sides."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from opentelemetry.trace import SpanKind, StatusCode
from shop.inventory.v1.inventory_pb2 import Reservation
from shop.inventory.v1.inventory_service_pb2 import ReleaseStockRequest
from structlog.testing import capture_logs

from chassis import errors, grpc_calls, grpc_client, grpc_interceptor, grpc_limits
from chassis.grpc_client import deadline
from chassis.grpc_server import Server
from chassis.testing import Spans, attributes, eventually, is_child
from conftest import free_port

ID, OTHER = "0198c0de-0000-7000-8000-000000000001", "0198c0de-0000-7000-8000-000000000002"
SERVICE = "test.Kinds"
KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]
Work = Callable[[list[ReleaseStockRequest], Any], Any]


class Kinds:
    """A service with a method of each kind; `work` is what each does with its requests before it answers."""

    def __init__(self) -> None:
        self.deadlines: list[float | None] = []
        self.at_work = 0
        self.reads = False

    async def work(self, _requests: list[ReleaseStockRequest], _context: Any) -> None:
        """Nothing."""

    async def _works(self, requests: list[ReleaseStockRequest], context: Any) -> list[Reservation]:
        self.deadlines.append(deadline.get())
        self.at_work += 1
        try:
            await self.work(requests, context)
        finally:
            self.at_work -= 1
        return [Reservation(order_id=each.order_id) for each in requests]

    async def unary_unary(self, request: ReleaseStockRequest, context: Any) -> Reservation:
        return (await self._works([request], context))[0]

    async def unary_stream(self, request: ReleaseStockRequest, context: Any) -> AsyncIterator[Reservation]:
        for response in await self._works([request], context):
            yield response

    async def stream_unary(self, requests: AsyncIterator[ReleaseStockRequest], context: Any) -> Reservation:
        if self.reads:
            asked: list[Any] = []
            while (request := await context.read()) is not vars(grpc.aio)["EOF"]:
                asked.append(request)
            return (await self._works(asked, context))[0]
        return (await self._works([each async for each in requests], context))[0]

    async def stream_stream(self, requests: AsyncIterator[ReleaseStockRequest], context: Any) -> None:
        async for request in requests:
            for response in await self._works([request], context):
                await context.write(response)


@asynccontextmanager
async def serving(kinds: Kinds, **limits: Any) -> AsyncGenerator[str]:
    """Serve until the block ends; gives the address."""
    port, stopping = free_port(), asyncio.Event()
    server = Server("127.0.0.1", port, grace_seconds=1, **limits)
    handlers = {
        kind: getattr(grpc, f"{kind}_rpc_method_handler")(
            getattr(kinds, kind), ReleaseStockRequest.FromString, Reservation.SerializeToString
        )
        for kind in KINDS
    }
    server.grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    task = asyncio.create_task(server.run(stopping))

    async def is_serving() -> bool:
        try:
            await server.serving()
        except ConnectionError:
            return False
        return True

    await eventually(is_serving)
    yield f"127.0.0.1:{port}"
    stopping.set()
    await task


async def call(channel: grpc.aio.Channel, kind: str, *requests: ReleaseStockRequest, **named: Any) -> list[str]:
    """The order ids of the answers."""
    make = getattr(channel, kind)(f"/{SERVICE}/{kind}", ReleaseStockRequest.SerializeToString, Reservation.FromString)

    async def asked() -> AsyncIterator[ReleaseStockRequest]:
        for request in requests:
            yield request

    made: Any = make(asked() if kind.startswith("stream") else requests[0], **named)
    if kind.endswith("stream"):
        return [response.order_id async for response in made]
    return [(await made).order_id]


def asking(order_id: str = ID) -> ReleaseStockRequest:
    return ReleaseStockRequest(order_id=order_id)


async def refusal(channel: grpc.aio.Channel, kind: str, *requests: ReleaseStockRequest) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, kind, *requests)
    return refused.value


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_is_a_span_on_both_sides(kind: str, spans: Spans) -> None:
    """Both name the method and the status, and the server's is the child of the client's."""
    async with serving(Kinds()) as address, grpc_client.connect(address) as channel:
        assert await call(channel, kind, asking()) == [ID]
        await eventually(lambda: len(spans.named(f"{SERVICE}/{kind}")) == 2)
    served, called = spans.named(f"{SERVICE}/{kind}")
    if served.kind is not SpanKind.SERVER:
        served, called = called, served
    assert (served.kind, called.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert is_child(served, called)
    for span in (served, called):
        assert attributes(span)["rpc.method"] == f"{SERVICE}/{kind}"
        assert attributes(span)["rpc.status_code"] == "OK"
        assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_is_an_answer(kind: str, spans: Spans) -> None:
    """With its code, its reason, and no error on the server's span."""

    class Refusing(Kinds):
        async def work(self, _requests: list[ReleaseStockRequest], _context: Any) -> None:
            raise errors.WrongState("not now")

    async with serving(Refusing()) as address, grpc_client.connect(address) as channel:
        error = await refusal(channel, kind, asking())
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not now")
    status = rpc_status.from_call(error)  # pyright: ignore[reportArgumentType] - it has all that is read
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert any(packed.Unpack(info) for packed in status.details)
    assert info.reason == "WRONG_STATE"
    [served] = [span for span in spans.named(f"{SERVICE}/{kind}") if span.kind is SpanKind.SERVER]
    assert attributes(served)["rpc.status_code"] == "FAILED_PRECONDITION"
    assert served.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("kind", KINDS)
async def test_a_fault_shows_nothing_of_the_inside(kind: str, spans: Spans) -> None:
    """It is INTERNAL, an error on the span, and one line in the log."""

    class Failing(Kinds):
        async def work(self, _requests: list[ReleaseStockRequest], _context: Any) -> None:
            raise LookupError("the secret of the house")

    with capture_logs() as logs:
        async with serving(Failing()) as address, grpc_client.connect(address) as channel:
            error = await refusal(channel, kind, asking())
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal")
    assert [each["event"] for each in logs] == ["rpc failed"]
    [served] = [span for span in spans.named(f"{SERVICE}/{kind}") if span.kind is SpanKind.SERVER]
    assert served.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("kind", KINDS)
async def test_what_the_servicer_aborts_with_stands_on_the_span(kind: str, spans: Spans) -> None:
    """It needs no exception of ours."""

    class Aborting(Kinds):
        async def work(self, _requests: list[ReleaseStockRequest], context: Any) -> None:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")

    async with serving(Aborting()) as address, grpc_client.connect(address) as channel:
        assert (await refusal(channel, kind, asking())).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    [served] = [span for span in spans.named(f"{SERVICE}/{kind}") if span.kind is SpanKind.SERVER]
    assert attributes(served)["rpc.status_code"] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_each_request_is_checked(kind: str, reads: bool) -> None:
    """The second of a stream too, and also where the servicer reads it by itself."""
    kinds = Kinds()
    kinds.reads = reads
    requests = [asking(), asking("no uuid")] if kind.startswith("stream") else [asking("no uuid")]
    async with serving(kinds) as address, grpc_client.connect(address) as channel:
        error = await refusal(channel, kind, *requests)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "order_id" in (error.details() or "")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_deadline_is_passed_on_and_ends_the_work(kind: str) -> None:
    """What the servicer calls in turn has the rest of it; when it has passed nobody works on."""

    class Hanging(Kinds):
        async def work(self, _requests: list[ReleaseStockRequest], _context: Any) -> None:
            await asyncio.Event().wait()

    kinds = Hanging()
    async with serving(kinds) as address, grpc_client.connect(address) as channel:
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await call(channel, kind, asking(), timeout=0.3)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert kinds.deadlines[0] is not None
        assert kinds.deadlines[0] - began <= 0.5
        await eventually(lambda: kinds.at_work == 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_inherits_the_deadline_of_the_call_it_is_made_for(kind: str) -> None:
    """Where that has passed it is not made."""
    kinds = Kinds()
    async with serving(kinds) as address, grpc_client.connect(address) as channel:
        token = deadline.set(time.monotonic() - 1)
        try:
            error = await refusal(channel, kind, asking())
        finally:
            deadline.reset(token)
        assert (error.code(), kinds.deadlines) == (grpc.StatusCode.DEADLINE_EXCEEDED, [])
        token = deadline.set(time.monotonic() + 2)
        try:
            assert await call(channel, kind, asking()) == [ID]
        finally:
            deadline.reset(token)
    assert kinds.deadlines[0] is not None
    assert kinds.deadlines[0] - time.monotonic() <= 2


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_without_a_deadline_gets_one(kind: str, monkeypatch: pytest.MonkeyPatch, spans: Spans) -> None:
    """Who has said nothing does not hold the server for ever, whatever is a stream."""
    monkeypatch.setattr(grpc_interceptor, "STREAM_SECONDS_MAX", 0.3)

    class Hanging(Kinds):
        async def work(self, _requests: list[ReleaseStockRequest], _context: Any) -> None:
            await asyncio.Event().wait()

    kinds = Hanging()
    async with serving(kinds, deadline_seconds=0.3) as address, grpc.aio.insecure_channel(address) as channel:
        error = await refusal(channel, kind, asking())
        assert (error.code(), kinds.at_work) == (grpc.StatusCode.DEADLINE_EXCEEDED, 0)
    [served] = [span for span in spans.named(f"{SERVICE}/{kind}") if span.kind is SpanKind.SERVER]
    assert attributes(served)["rpc.status_code"] == "DEADLINE_EXCEEDED"


async def test_streams_go_both_ways_at_once() -> None:
    """Each answer comes before the next question."""
    async with serving(Kinds()) as address, grpc_client.connect(address) as channel:
        made: Any = channel.stream_stream(
            f"/{SERVICE}/stream_stream", ReleaseStockRequest.SerializeToString, Reservation.FromString
        )()
        for order_id in (ID, OTHER, ID):
            await made.write(asking(order_id))
            assert (await made.read()).order_id == order_id
        await made.done_writing()
        assert await made.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("kind", ["unary_stream", "stream_stream"])
async def test_a_client_that_leaves_ends_the_stream(kind: str, spans: Spans) -> None:
    """On the server's side too, with its span."""

    class Endless(Kinds):
        async def work(self, _requests: list[ReleaseStockRequest], context: Any) -> None:
            while True:
                await context.write(Reservation(order_id=ID))

    kinds = Endless()
    async with serving(kinds) as address, grpc_client.connect(address) as channel:
        asked: Any = asking()
        if kind == "stream_stream":

            async def requests() -> AsyncIterator[ReleaseStockRequest]:
                yield asking()
                await asyncio.Event().wait()

            asked = requests()
        made: Any = getattr(channel, kind)(
            f"/{SERVICE}/{kind}", ReleaseStockRequest.SerializeToString, Reservation.FromString
        )(asked)
        async for _ in made:
            break
        made.cancel()
        await eventually(lambda: kinds.at_work == 0)
        await eventually(lambda: len(spans.named(f"{SERVICE}/{kind}")) == 2)
    assert [attributes(span)["rpc.status_code"] for span in spans.named(f"{SERVICE}/{kind}")] == ["CANCELLED"] * 2


class Silent:
    """A client that begins a call and sends nothing."""

    def __init__(self, channel: grpc.aio.Channel, method: str) -> None:
        self.call: Any = channel.stream_stream(method)()

    async def begin(self) -> "Silent":
        await self.call.wait_for_connection()
        return self

    async def status(self) -> tuple[grpc.StatusCode, str]:
        return await self.call.code(), await self.call.details()


METHODS = [
    *(f"/{SERVICE}/{kind}" for kind in KINDS),
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/List",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (grpc_limits, grpc_calls, grpc_interceptor):
        monkeypatch.setattr(module, "FIRST_MESSAGE_SECONDS_MAX", 0.3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("hurried")
async def test_a_call_that_brings_no_message_is_ended(method: str, spans: Spans) -> None:
    """It would hold its place for as long as its connection lasts; whose deadline is longer is no exception."""
    async with serving(Kinds()) as address, grpc.aio.insecure_channel(address) as channel:
        silent = await Silent(channel, method).begin()
        async with asyncio.timeout(3):
            assert await silent.status() == (grpc.StatusCode.DEADLINE_EXCEEDED, "no message came within 0.3 s")
    if SERVICE in method:
        assert attributes(spans.one(method[1:]))["rpc.status_code"] == "DEADLINE_EXCEEDED"


@pytest.mark.usefixtures("hurried")
async def test_only_the_first_message_is_waited_for_so_long() -> None:
    """A stream may be silent afterwards, for as long as its deadline allows."""
    async with serving(Kinds()) as address, grpc.aio.insecure_channel(address) as channel:
        made: Any = channel.stream_stream(
            f"/{SERVICE}/stream_stream", ReleaseStockRequest.SerializeToString, Reservation.FromString
        )()
        await made.write(asking())
        assert (await made.read()).order_id == ID
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6):
                await asyncio.shield(made.code())
        await made.write(asking(OTHER))
        assert (await made.read()).order_id == OTHER
        await made.done_writing()
        assert await made.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_ends_without_a_message_is_answered(kind: str) -> None:
    """Where one is needed that is the caller's mistake; a stream may be empty."""
    async with serving(Kinds()) as address, grpc.aio.insecure_channel(address) as channel:
        made: Any = channel.stream_stream(f"/{SERVICE}/{kind}")()
        await made.done_writing()
        async with asyncio.timeout(3):
            code = await made.code()
    expected = {"stream_stream": grpc.StatusCode.OK, "stream_unary": grpc.StatusCode.INTERNAL}
    assert code is expected.get(kind, grpc.StatusCode.UNIMPLEMENTED)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_message_that_does_not_decode_is_the_caller_s_mistake(kind: str) -> None:
    """Not a fault of the server's, and no traceback in its log."""
    with capture_logs() as logs:
        async with serving(Kinds()) as address, grpc.aio.insecure_channel(address) as channel:
            made: Any = channel.stream_stream(f"/{SERVICE}/{kind}")()
            await made.write(b"\xff")
            await made.done_writing()
            assert await made.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert logs == []


async def test_a_client_that_leaves_before_its_message_is_noted_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """There is nobody to answer."""
    async with serving(Kinds()) as address, grpc.aio.insecure_channel(address) as channel:
        for _ in range(20):
            for method in METHODS:
                silent = await Silent(channel, method).begin()
                silent.call.cancel()
        await call(channel, "unary_unary", asking())
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []
