"""The gRPC server and client: validation, refusals, deadlines, cancelled calls, health, retries."""

import asyncio
import re
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status
from opentelemetry.trace import SpanKind, StatusCode
from shop.inventory.v1 import inventory_service_pb2 as rpc
from shop.inventory.v1.inventory_pb2 import ReservationLine
from shop.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub, add_InventoryServiceServicer_to_server
from uuid_utils.compat import uuid7

from chassis import errors, grpc_client, telemetry
from chassis.database import Database, Transaction
from chassis.errors import Misconfigured
from chassis.grpc_server import Server
from chassis.testing import Spans, attributes, eventually, is_child, traceparent
from chassis.tests.participant import NAME, Participant, serving
from chassis.tests.surroundings import INSERT_EFFECT, OwnDatabase
from chassis.version import VERSION
from conftest import free_port

RELEASE = f"{NAME}/ReleaseStock"


def release() -> rpc.ReleaseStockRequest:
    return rpc.ReleaseStockRequest(order_id=str(uuid7()))


async def refusal_of(participant: Participant, request: rpc.ReleaseStockRequest) -> grpc.aio.AioRpcError:
    async with serving(participant) as address, grpc_client.connect(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await InventoryServiceStub(channel).ReleaseStock(request)
    return refused.value


def detail(error: grpc.aio.AioRpcError, message: error_details_pb2.BadRequest | error_details_pb2.ErrorInfo) -> None:
    """Fill `message` from the error's rich status."""
    status = rpc_status.from_call(error)  # pyright: ignore[reportArgumentType] - it has all that is read
    assert status is not None
    assert any(packed.Unpack(message) for packed in status.details)


async def test_validation_rules_of_the_proto_hold_whoever_calls() -> None:
    """A broken rule is INVALID_ARGUMENT with the field's path, and the servicer never sees the request."""
    participant = Participant()
    error = await refusal_of(participant, rpc.ReleaseStockRequest(order_id="no uuid"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = error_details_pb2.BadRequest()
    detail(error, found)
    assert [(violation.field, violation.reason) for violation in found.field_violations] == [
        ("order_id", "string.uuid")
    ]
    assert participant.asked == []


async def test_a_request_that_is_wrong_in_many_places_is_told_the_first() -> None:
    """A list of hundreds would not fit into what a client takes, which would look like an overloaded server."""
    lines = [ReservationLine(sku="NOT A SKU", quantity=-1) for _ in range(100)]
    async with serving(Participant()) as address, grpc_client.connect(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await InventoryServiceStub(channel).ReserveStock(rpc.ReserveStockRequest(order_id="no uuid", lines=lines))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = error_details_pb2.BadRequest()
    detail(refused.value, found)
    assert 10 <= len(found.field_violations) <= 50
    assert found.field_violations[0].field == "order_id"
    assert re.search(r"and \d+ more$", refused.value.details() or "")


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (errors.NotFound("no such thing"), grpc.StatusCode.NOT_FOUND),
        (errors.WrongState("not now"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.KeyReused("used", field="request_id"), grpc.StatusCode.ALREADY_EXISTS),
        (errors.Invalid("no", field="page_token"), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_refusal_is_an_answer(refusal: errors.Refusal, code: grpc.StatusCode, spans: Spans) -> None:
    """The domain's no has a code, a reason and a field, and leaves the server's span without an error."""
    error = await refusal_of(Participant(refusal), release())
    assert (error.code(), error.details()) == (code, refusal.message)
    info = error_details_pb2.ErrorInfo()
    detail(error, info)
    assert (info.reason, info.domain) == (refusal.reason, "shop")
    served = next(span for span in spans.named(RELEASE) if span.kind is SpanKind.SERVER)
    assert served.status.status_code is StatusCode.UNSET


async def test_a_fault_shows_nothing_of_the_inside(spans: Spans) -> None:
    """What breaks is INTERNAL without its message, and an error on the span."""
    error = await refusal_of(Participant(LookupError("the secret of the house")), release())
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error.details())
    served = next(span for span in spans.named(RELEASE) if span.kind is SpanKind.SERVER)
    assert served.status.status_code is StatusCode.ERROR


async def test_the_remaining_time_is_passed_on() -> None:
    """A call made on the way of another has no more time than is left of it, and every call has some."""
    participant = Participant()
    async with serving(participant) as address, grpc_client.connect(address) as channel:
        loop = asyncio.get_running_loop()
        await InventoryServiceStub(channel).ReleaseStock(release(), timeout=1.0)
        await InventoryServiceStub(channel).ReleaseStock(release())
        first, second = participant.deadlines
        assert first is not None
        assert second is not None
        assert first - loop.time() <= 1.0
        assert 1.0 < second - loop.time() <= grpc_client.DEFAULT_DEADLINE_SECONDS
    token = grpc_client.deadline.set(loop.time() + 0.2)
    try:
        assert grpc_client.remaining_seconds(5.0) <= 0.2
    finally:
        grpc_client.deadline.reset(token)


async def test_a_call_without_a_deadline_gets_one(spans: Spans) -> None:
    """Who has said nothing does not hold the server for ever."""
    participant = Participant()
    participant.answers.clear()
    async with serving(participant, deadline_seconds=0.2) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await InventoryServiceStub(channel).ReleaseStock(release())
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "no deadline" in (late.value.details() or "")
    assert participant.at_work == 0
    assert attributes(spans.one(RELEASE))["rpc.status_code"] == "DEADLINE_EXCEEDED"


async def test_a_full_server_refuses_at_once() -> None:
    """What waits for its turn until its deadline is work for nothing, and memory."""
    participant = Participant()
    participant.answers.clear()
    async with serving(participant, calls_max=2) as address, grpc.aio.insecure_channel(address) as channel:
        stub = InventoryServiceStub(channel)
        in_hand = [asyncio.ensure_future(stub.ReleaseStock(release())) for _ in range(2)]
        await eventually(lambda: participant.at_work == 2)
        with pytest.raises(grpc.aio.AioRpcError) as full:
            await stub.ReleaseStock(release())
        participant.answers.set()
        await asyncio.gather(*in_hand)
    assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(participant.asked) == 2


async def test_a_cancelled_call_ends_its_spans_and_not_its_work(
    database: Database, own_database: OwnDatabase, spans: Spans
) -> None:
    """A client that hangs up never leaves a half-done transaction: the unit of work goes to its end, and is told."""
    inside, may_end = asyncio.Event(), asyncio.Event()

    async def work(transaction: Transaction) -> None:
        await transaction.run(INSERT_EFFECT, subject="a", sequence=1, message_id=None)
        inside.set()
        await may_end.wait()
        await transaction.run(INSERT_EFFECT, subject="a", sequence=2, message_id=None)

    handling: list[asyncio.Task[None]] = []

    async def on_call() -> None:
        task = asyncio.current_task()
        assert task is not None
        handling.append(task)
        await database.unit_of_work(work)

    participant = Participant()
    participant.on_call = on_call
    async with serving(participant) as address, grpc_client.connect(address) as channel:
        call = asyncio.ensure_future(InventoryServiceStub(channel).ReleaseStock(release()))
        await inside.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # The server hears of it a moment later.
        await eventually(lambda: handling[0].cancelling())
        may_end.set()
        await eventually(lambda: len(spans.named(RELEASE)) == 2)
    assert await own_database.value("SELECT count(*) FROM effects") == 2
    assert await own_database.open_transactions() == 0
    by_kind = {span.kind: span for span in spans.named(RELEASE)}
    assert is_child(by_kind[SpanKind.SERVER], by_kind[SpanKind.CLIENT])
    assert [attributes(span)["rpc.status_code"] for span in by_kind.values()] == ["CANCELLED"] * 2
    # The caller is gone, the work is not: the server's span is the unit of work's, and ends with it.
    server, effects = by_kind[SpanKind.SERVER], spans.named("INSERT effects")
    assert [is_child(effect, server) for effect in effects] == [True, True]
    assert (server.end_time or 0) > max(effect.end_time or 0 for effect in effects)
    assert (server.end_time or 0) > (by_kind[SpanKind.CLIENT].end_time or 0)


async def test_a_stopping_server_says_so_and_finishes_what_is_in_hand() -> None:
    """Health turns NOT_SERVING at once; the call in hand gets its answer."""
    participant = Participant()
    participant.answers.clear()
    stopping, port = asyncio.Event(), free_port()
    server = Server("127.0.0.1", port, grace_seconds=5)
    add_InventoryServiceServicer_to_server(participant, server.grpc)
    serving_task = asyncio.create_task(server.run(stopping, NAME))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        watch: Any = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )(health_pb2.HealthCheckRequest(service=NAME), wait_for_ready=True)
        statuses = aiter(watch)
        assert (await anext(statuses)).status == health_pb2.HealthCheckResponse.SERVING
        call = asyncio.ensure_future(InventoryServiceStub(channel).ReleaseStock(release()))
        await eventually(lambda: participant.at_work)
        stopping.set()
        assert (await anext(statuses)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        participant.answers.set()
        assert (await call).order_id
        watch.cancel()
    await serving_task


async def test_only_unavailable_is_retried_and_at_most_twice() -> None:
    """A call that found nobody is repeated by the channel; any other failure is the caller's to judge."""
    unavailable = grpc.StatusCode.UNAVAILABLE
    recovers = Participant(unavailable, unavailable)
    async with serving(recovers) as address, grpc_client.connect(address) as channel:
        await InventoryServiceStub(channel).ReleaseStock(release())
    assert len(recovers.asked) == 3
    gives_up = Participant(*[unavailable] * 5)
    assert (await refusal_of(gives_up, release())).code() is unavailable
    assert len(gives_up.asked) == 3
    other = Participant(grpc.StatusCode.UNKNOWN)
    await refusal_of(other, release())
    assert len(other.asked) == 1


async def test_calls_spread_over_healthy_replicas() -> None:
    """Two replicas share the calls; when one stops, the other takes them all."""
    first, second = Participant(), Participant()
    async with serving(first) as one:
        async with serving(second) as two, grpc_client.connect(f"ipv4:{one},{two}") as channel:
            stub = InventoryServiceStub(channel)

            async def both_were_asked() -> bool:
                await stub.ReleaseStock(release())
                return bool(first.asked and second.asked)

            await eventually(both_were_asked)
        async with grpc_client.connect(f"ipv4:{one},{two}") as channel:
            before = len(first.asked)
            for _ in range(10):
                await InventoryServiceStub(channel).ReleaseStock(release())
    assert len(first.asked) == before + 10


async def test_reflection_lists_the_services() -> None:
    """A person with grpcurl finds what there is."""
    async with serving(Participant()) as address, grpc.aio.insecure_channel(address) as channel:
        answers: Any = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = {service.name async for answer in answers for service in answer.list_services_response.service}
    assert {NAME, "grpc.health.v1.Health"} <= names


async def test_a_taken_port_is_named() -> None:
    """Two processes never share a port silently; the error names the setting."""
    async with serving(Participant()) as address:
        server = Server("127.0.0.1", int(address.rsplit(":", 1)[1]))
        with pytest.raises(Misconfigured, match="GRPC_PORT"):
            await server.run(asyncio.Event(), NAME)
        await server.grpc.stop(None)


async def test_who_brings_no_trace_is_told_which_one_began(spans: Spans) -> None:
    """W3C Trace Context, level 2: in the trailing metadata, of a refusal too, beside its details."""
    refusal = errors.WrongState("not now")
    async with serving(Participant()) as address, grpc.aio.insecure_channel(address) as channel:
        call = InventoryServiceStub(channel).GetStock(rpc.GetStockRequest(sku="beans"))
        await call
        told = dict(await call.trailing_metadata())
        [served] = spans.named(f"{NAME}/GetStock")
        assert told["traceresponse"] == traceparent(served)
    error = await bare_refusal(Participant(refusal))
    [served] = spans.named(RELEASE)
    assert dict(error.trailing_metadata() or ())["traceresponse"] == traceparent(served)
    info = error_details_pb2.ErrorInfo()
    detail(error, info)
    assert info.reason == "WRONG_STATE"


async def bare_refusal(participant: Participant) -> grpc.aio.AioRpcError:
    """Of a call that a client of nobody's makes, without a trace."""
    async with serving(participant) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await InventoryServiceStub(channel).ReleaseStock(release())
    return refused.value


async def test_who_brings_a_trace_knows_it() -> None:
    """The dispatcher and the gateway pay nothing for those who ask by hand."""
    async with serving(Participant()) as address, grpc_client.connect(address) as channel:
        call = InventoryServiceStub(channel).ReleaseStock(release())
        await call
        assert "traceresponse" not in dict(await call.trailing_metadata())


async def test_health_says_which_version_of_which_process_answers() -> None:
    """The instance is the id by which the spans of this process name it."""
    async with serving(Participant()) as address, grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        call = stub.Check(health_pb2.HealthCheckRequest())
        assert (await call).status == health_pb2.HealthCheckResponse.SERVING
        told = dict(await call.trailing_metadata())
    assert told["shop-version"] == VERSION
    assert told["shop-instance"] == telemetry.instance_id()
