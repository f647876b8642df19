"""gRPC errors as problem documents: the table, and what is never shown."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from gateway.tests.upstream import UNKNOWN_ORDER, Upstream

Code = grpc.StatusCode


def aborting(code: Code, message: str, *details: Message) -> Callable[[Any], Any]:
    """What a service does that fails with this status."""

    async def abort(context: Any) -> None:
        status = status_pb2.Status(code=code.value[0], message=message)
        for detail in details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        if details:
            await context.abort_with_status(rpc_status.to_status(status))
        await context.abort(code, message)

    return abort


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.INVALID_ARGUMENT, 400),
        (Code.OUT_OF_RANGE, 400),
        (Code.NOT_FOUND, 404),
        (Code.ALREADY_EXISTS, 409),
        (Code.ABORTED, 409),
        (Code.FAILED_PRECONDITION, 409),
        (Code.RESOURCE_EXHAUSTED, 429),
        (Code.UNIMPLEMENTED, 501),
        (Code.UNAVAILABLE, 503),
        (Code.DEADLINE_EXCEEDED, 504),
        (Code.INTERNAL, 500),
        (Code.UNKNOWN, 500),
        (Code.DATA_LOSS, 500),
        (Code.CANCELLED, 499),
        (Code.PERMISSION_DENIED, 403),
        (Code.UNAUTHENTICATED, 401),
    ],
)
async def test_a_grpc_status_has_one_http_status_and_its_message_stays_inside(
    client: httpx.AsyncClient, upstream: Upstream, code: Code, status: int
) -> None:
    upstream.before["GetOrder"] = aborting(code, "SELECT * FROM orders at /srv/order/handlers.py")

    answer = await client.get(f"/v1/orders/{UNKNOWN_ORDER}")

    assert answer.status_code == status
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["type"]) == (status, code.name, "about:blank")
    assert "SELECT" not in answer.text
    assert "handlers" not in answer.text
    assert ("retry-after" in answer.headers) is (status == 503)


@pytest.mark.parametrize(
    ("code", "status", "shown"),
    [(Code.FAILED_PRECONDITION, 409, True), (Code.RESOURCE_EXHAUSTED, 429, True), (Code.INTERNAL, 500, False)],
)
async def test_what_a_service_wrote_for_callers_is_shown_unless_it_is_a_fault(
    client: httpx.AsyncClient, upstream: Upstream, code: Code, status: int, shown: bool
) -> None:
    info = error_details_pb2.ErrorInfo(reason="SHELF_IS_FULL", domain="shop")
    upstream.before["GetOrder"] = aborting(code, "the shelf is full", info)

    answer = await client.get(f"/v1/orders/{UNKNOWN_ORDER}")

    assert answer.status_code == status
    problem = answer.json()
    assert (problem["reason"], problem["title"]) == ("SHELF_IS_FULL", "Shelf is full")
    assert problem["type"] == "urn:shop:problem:shelf-is-full"
    assert ("the shelf is full" in problem["detail"]) is shown


async def test_a_service_says_when_to_come_again(client: httpx.AsyncClient, upstream: Upstream) -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(2_500)
    upstream.before["GetOrder"] = aborting(Code.RESOURCE_EXHAUSTED, "slow down", retry)

    answer = await client.get(f"/v1/orders/{UNKNOWN_ORDER}")

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")


async def test_a_status_that_contradicts_itself_shows_nothing(client: httpx.AsyncClient, upstream: Upstream) -> None:
    async def abort(context: Any) -> None:
        other = status_pb2.Status(code=Code.NOT_FOUND.value[0], message="other")
        context.set_trailing_metadata((("grpc-status-details-bin", other.SerializeToString()),))
        await context.abort(Code.INVALID_ARGUMENT, "secret")

    upstream.before["GetOrder"] = abort

    answer = await client.get(f"/v1/orders/{UNKNOWN_ORDER}")

    assert answer.status_code == 400
    assert "secret" not in answer.text


@pytest.mark.parametrize("details", [b"\xff\xff\xff", b"\x08\x03\x12\x06secret\x1a\x04\xff\xff\xff\xff"])
async def test_a_status_that_is_damaged_shows_nothing(
    client: httpx.AsyncClient, upstream: Upstream, details: bytes
) -> None:
    async def abort(context: Any) -> None:
        await context.abort(Code.INVALID_ARGUMENT, "secret", (("grpc-status-details-bin", details),))

    upstream.before["GetOrder"] = abort

    answer = await client.get(f"/v1/orders/{UNKNOWN_ORDER}")

    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_ARGUMENT")
    assert "secret" not in answer.text


async def test_what_a_proxy_says_is_not_shown(client: httpx.AsyncClient, upstream: Upstream) -> None:
    info = error_details_pb2.ErrorInfo(reason="NO_ROUTE", domain="istio.io")
    upstream.before["GetOrder"] = aborting(Code.PERMISSION_DENIED, "no route to 10.0.0.7", info)

    answer = await client.get(f"/v1/orders/{UNKNOWN_ORDER}")

    assert (answer.status_code, answer.json()["type"]) == (403, "about:blank")
    assert "10.0.0.7" not in answer.text


async def test_a_service_that_hangs_is_given_up_and_the_key_is_returned(
    client: httpx.AsyncClient, upstream: Upstream, order: Callable[..., Any]
) -> None:
    async def hang(_context: Any) -> None:
        await asyncio.Event().wait()

    upstream.before["PlaceOrder"] = hang

    answer = await client.post("/v1/orders", json=order(), headers={"Idempotency-Key": "again"})

    assert (answer.status_code, answer.json()["code"]) == (504, "DEADLINE_EXCEEDED")
    assert answer.headers["idempotency-key"] == "again"


async def test_a_service_that_is_gone_is_unavailable(client: httpx.AsyncClient, upstream: Upstream) -> None:
    upstream.before["GetStock"] = aborting(Code.UNAVAILABLE, "ipv4:10.0.0.7:50053: connection refused")

    answer = await client.get("/v1/stock/espresso-beans")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "10.0.0.7" not in answer.text
