"""gRPC channels: deadlines that shrink on the way, balancing over healthy replicas, bounded retries, CLIENT spans."""

import asyncio
import json
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from chassis import telemetry
from chassis.grpc_channel import RedialledChannel

# The monotonic time at which the caller of the work in hand stops waiting.
deadline: ContextVar[float | None] = ContextVar("deadline", default=None)

DEFAULT_DEADLINE_SECONDS = 5.0
# The same of a stream, either way.
STREAM_SECONDS = 330.0


def connect(address: str, *, retries: bool = True, traced: bool = True) -> grpc.aio.Channel:
    """A channel to every replica behind `address`.

    Args:
        address: a gRPC target, such as `127.0.0.1:50051` or `dns:///order:50051`.
        retries: calls that found nobody (UNAVAILABLE) are made again, at most twice; two layers of retries multiply.
        traced: each call has a CLIENT span, and the caller's deadline. Off where the caller sees to both by itself.
    """
    options = [
        ("grpc.service_config", json.dumps(_service_config(retries))),
        ("grpc.enable_retries", int(retries)),
        # A lost replica is tried again soon: the default backs off to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # In spite of its name, what a connection may take: calls wait for it, by default twenty seconds.
        ("grpc.min_reconnect_backoff_ms", 2000),
        # Else a new channel would get the lost connections of the one before, and wait as they do.
        ("grpc.use_local_subchannel_pool", 1),
        # A lost address is a reason to ask the name again at once: by default half a minute lies between two questions.
        ("grpc.dns_min_time_between_resolutions_ms", 1000),
        ("grpc.keepalive_time_ms", 30_000),
        # The proxy of `http_proxy` leads out of the house, and who is called here is inside.
        ("grpc.enable_http_proxy", 0),
    ]
    interceptors = [UnaryClient(), StreamClient(), UploadClient(), BothWaysClient()] if traced else []
    return RedialledChannel(lambda: grpc.aio.insecure_channel(address, options=options, interceptors=interceptors))


def _service_config(retries: bool) -> dict[str, Any]:
    """Over every healthy replica, one after the other."""
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": ""},
    }
    if retries:
        config["methodConfig"] = [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
        config["retryThrottling"] = {"maxTokens": 100, "tokenRatio": 0.1}
    return config


def remaining_seconds(wanted: float | None) -> float:
    """What is left of the caller's patience, at most `wanted` (5 s by default)."""
    seconds = DEFAULT_DEADLINE_SECONDS if wanted is None else wanted
    ends_at = deadline.get()
    return seconds if ends_at is None else min(seconds, max(0.0, ends_at - time.monotonic()))


def metadata(span: Span, given: Any = None) -> grpc.aio.Metadata:
    """What a call carries, so that the server's span becomes the child of `span`."""
    sent = grpc.aio.Metadata(*(given or ()))
    for name, value in telemetry.store(span)._asdict().items():
        if value:
            sent.add(name, value)
    return sent


def _start(method: str, given: Any) -> tuple[Span, grpc.aio.Metadata]:
    name = method.lstrip("/")
    started = telemetry.start_span(name, SpanKind.CLIENT, {"rpc.system.name": "grpc", "rpc.method": name})
    return started, metadata(started, given)


def _details(
    given: grpc.aio.ClientCallDetails, timeout: float | None, metadata: grpc.aio.Metadata
) -> grpc.aio.ClientCallDetails:
    return grpc.aio.ClientCallDetails(given.method, timeout, metadata, given.credentials, given.wait_for_ready)


def end(started: Span, code: grpc.StatusCode, details: str | None = None) -> None:
    """End a CLIENT span with the call's status."""
    started.set_attribute("rpc.status_code", code.name)
    if code is not grpc.StatusCode.OK:
        started.set_attribute("error.type", code.name)
        started.set_status(Status(StatusCode.ERROR, (details or "")[:200]))
    started.end()


class UnaryClient(grpc.aio.UnaryUnaryClientInterceptor):
    """One CLIENT span for each call, ended when the call has ended, however it did."""

    async def intercept_unary_unary(
        self,
        continuation: Callable[..., Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        method = _text(client_call_details.method)
        if method.startswith("/grpc."):
            # Health is asked all the time; servers do not trace it either.
            return await continuation(client_call_details, request)
        started, sent = _start(method, client_call_details.metadata)
        timeout = remaining_seconds(client_call_details.timeout)
        if timeout <= 0:
            raise _too_late(started)
        details = _details(client_call_details, timeout, sent)
        call: Any = None
        try:
            with telemetry.inside(started):
                call = await continuation(details, request)
            code = await call.code()
            if code is grpc.StatusCode.OK and (order_id := getattr(await call, "order_id", "")):
                started.set_attribute(telemetry.ORDER_ID, order_id)
        except asyncio.CancelledError:
            # Who stops waiting for a status does not end the call: the server would work on until the deadline.
            if call is not None:
                call.cancel()
            end(started, grpc.StatusCode.CANCELLED)
            raise
        end(started, code, None if code is grpc.StatusCode.OK else await call.details())
        return call


class StreamClient(grpc.aio.UnaryStreamClientInterceptor):
    """One CLIENT span for each server stream, from the call to its end, also when the reader leaves early."""

    async def intercept_unary_stream(
        self,
        continuation: Callable[..., Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        return await _open(continuation, client_call_details, request)


class UploadClient(grpc.aio.StreamUnaryClientInterceptor):
    """The same for a stream of requests with one response."""

    async def intercept_stream_unary(
        self,
        continuation: Callable[..., Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Any,
    ) -> Any:
        return await _open(continuation, client_call_details, request_iterator)


class BothWaysClient(grpc.aio.StreamStreamClientInterceptor):
    """The same for streams both ways."""

    async def intercept_stream_stream(
        self,
        continuation: Callable[..., Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Any,
    ) -> Any:
        return await _open(continuation, client_call_details, request_iterator)


_endings: set[asyncio.Task[None]] = set()


async def _open(continuation: Callable[..., Any], given: grpc.aio.ClientCallDetails, asked: Any) -> Any:
    """Begin a call that is not over when this returns; its span ends with it."""
    method = _text(given.method)
    if method.startswith("/grpc."):
        return await continuation(given, asked)
    started, sent = _start(method, given.metadata)
    timeout = remaining_seconds(STREAM_SECONDS if given.timeout is None else given.timeout)
    if timeout <= 0:
        raise _too_late(started)
    try:
        with telemetry.inside(started):
            call = await continuation(_details(given, timeout, sent), asked)
    except asyncio.CancelledError:
        end(started, grpc.StatusCode.CANCELLED)
        raise

    async def end_span() -> None:
        code = await call.code()
        end(started, code, None if code is grpc.StatusCode.OK else await call.details())

    def ended(_call: Any) -> None:
        ending = asyncio.get_running_loop().create_task(end_span())
        _endings.add(ending)
        ending.add_done_callback(_endings.discard)

    call.add_done_callback(ended)
    return call


def _too_late(started: Span) -> grpc.aio.AioRpcError:
    """The error of a call that was not made: on the wire a deadline is rounded up, and the server would begin."""
    code = grpc.StatusCode.DEADLINE_EXCEEDED
    end(started, code)
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(), "the deadline had passed before the call"
    )


def _text(method: str | bytes) -> str:
    return method.decode() if isinstance(method, bytes) else method
