"""gRPC servers: what every RPC gets before and after its servicer sees it.

call ─▶ SERVER span ─▶ deadline ─▶ validation (protovalidate) ─▶ servicer ─▶ refusals and faults become a status
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from opentelemetry.context import attach
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from chassis import database, errors, grpc_codes, logs, telemetry
from chassis.grpc_client import deadline
from chassis.telemetry import ORDER_ID, TraceContext
from chassis.validation import Validator
from chassis.version import VERSION

log = logs.get(__name__)

# Trailing metadata: of a call that began a trace, and of health.
TRACE_RESPONSE, SHOP_VERSION, SHOP_INSTANCE = "traceresponse", "shop-version", "shop-instance"
_RPC_DURATION = telemetry.meter.create_histogram(
    "rpc.server.call.duration", unit="s", description="How long RPCs take, by method and status."
)


class Interceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of the shop's own services once."""

    def __init__(self, deadline_seconds: float) -> None:
        self._deadline_seconds = deadline_seconds
        self._validator = Validator()
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            # Health and reflection are the chassis' own and are asked all the time.
            if handler is None or method.startswith("/grpc."):
                return handler
            wrapped = self._wrapped[method] = self._wrap(method.lstrip("/"), handler)
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        if handler.response_streaming:
            stream = handler.unary_stream

            async def unary_stream(request: Message, context: Any) -> AsyncIterator[Message]:
                call = Call(method, request, context, stream)
                try:
                    await call.check(self._validator)
                    async for response in stream(request, context):
                        yield response
                except BaseException as error:
                    await call.failed(error)
                    raise
                finally:
                    call.end()

            return grpc.unary_stream_rpc_method_handler(
                unary_stream, handler.request_deserializer, handler.response_serializer
            )
        unary = handler.unary_unary

        async def unary_unary(request: Message, context: Any) -> Message:
            call = Call(method, request, context, unary)
            try:
                async with call.limit(self._deadline_seconds):
                    await call.check(self._validator)
                    response = await unary(request, context)
                call.answered(response)
            except BaseException as error:
                await call.failed(error)
                raise
            else:
                return response
            finally:
                call.end()

        return grpc.unary_unary_rpc_method_handler(
            unary_unary, handler.request_deserializer, handler.response_serializer
        )


class Call:
    """One RPC on its way through the server.

    Its SERVER span is the span of the unit of work too, and leads to the handler that decides; where there is none, to
    the servicer's own method.

    grpc.aio runs each RPC in a task, hence in a context of its own: what is set here needs no undoing.
    """

    def __init__(self, method: str, request: Message, context: Any, servicer: Callable[..., Any]) -> None:
        self._method, self._request, self._context, self._servicer = method, request, context, servicer
        self._began = time.perf_counter()
        self._code, self._limit = grpc.StatusCode.OK, asyncio.timeout(None)
        sent = {key: value for key, value in context.invocation_metadata() or () if key.startswith("trace")}
        telemetry.concerns(getattr(request, "order_id", ""))
        self._span = telemetry.start_span(
            method,
            SpanKind.SERVER,
            {"rpc.system.name": "grpc", "rpc.method": method},
            telemetry.restore(TraceContext(sent.get("traceparent", ""), sent.get("tracestate", ""))),
        )
        attach(set_span_in_context(self._span))
        # Who brings no trace context is told which one its call has begun (W3C Trace Context, level 2).
        self._told: tuple[tuple[str, str], ...] = ()
        if "traceparent" not in sent and (began := telemetry.store(self._span).traceparent):
            self._told = ((TRACE_RESPONSE, began),)
            context.set_trailing_metadata(self._told)

    def limit(self, seconds_max: float) -> asyncio.Timeout:
        """Set the deadline that the calls made for this one inherit; a call that brings none ends with the block's."""
        left = self._context.time_remaining()
        deadline.set(time.monotonic() + (seconds_max if left is None else min(left, seconds_max)))
        # gRPC itself cancels what has outlived the caller's deadline.
        self._limit = asyncio.timeout(seconds_max if left is None else None)
        return self._limit

    async def check(self, validator: Validator) -> None:
        """Drop what comes too late; refuse what breaks a rule of its proto."""
        left = self._context.time_remaining()
        if left is not None and left <= 0:
            self._code = grpc.StatusCode.DEADLINE_EXCEEDED
            await self._context.abort(self._code, "the deadline had passed before the work began")
        validator.check(self._request)

    def answered(self, response: Message) -> None:
        """Note what only the answer knows."""
        if order_id := getattr(response, "order_id", ""):
            self._span.set_attribute(ORDER_ID, order_id)

    async def failed(self, error: BaseException) -> None:
        """Turn what was raised into a status: a refusal with its details, a fault without its innards."""
        if isinstance(error, errors.Refusal):
            self._code = grpc_codes.code(error)
            self._span.set_attribute("shop.refusal", error.reason)
            status = grpc_codes.of_refusal(error)
            await self._context.abort(status.code, status.details, (*status.trailing_metadata, *self._told))
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            self._code = grpc.StatusCode.CANCELLED
        elif isinstance(error, TimeoutError) and self._limit.expired():
            self._code = grpc.StatusCode.DEADLINE_EXCEEDED
            await self._context.abort(self._code, "it took too long, and the caller had set no deadline")
        elif not isinstance(error, grpc.aio.AbortError):
            transient = database.is_transient(error)
            self._code = grpc.StatusCode.UNAVAILABLE if transient else grpc.StatusCode.INTERNAL
            log.error("rpc failed", method=self._method, error=repr(error), exc_info=None if transient else error)
            await self._context.abort(
                self._code, "the database does not answer; try again" if transient else "internal"
            )

    def end(self) -> None:
        """End the span and record the duration."""
        telemetry.leads_to(self._servicer)
        self._span.set_attribute("rpc.status_code", self._code.name)
        if self._code in grpc_codes.SERVER_FAULTS:
            self._span.set_attribute("error.type", self._code.name)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
        _RPC_DURATION.record(
            time.perf_counter() - self._began, {"rpc.method": self._method, "rpc.status_code": self._code.name}
        )


class Health(HealthServicer):
    """Says too who answers: the version, and the id by which the spans of this process name it."""

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:
        context.set_trailing_metadata(((SHOP_VERSION, VERSION), (SHOP_INSTANCE, telemetry.instance_id())))
        return await super().Check(request, context)


class Server:
    """A gRPC server with health and reflection, that ends without dropping a call in hand."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        deadline_seconds: float = 5.0,
        calls_max: int = 2_000,
        grace_seconds: float = 10.0,
    ) -> None:
        self._where, self._grace_seconds = (host, port), grace_seconds
        self._health = Health()
        self._serving = False
        self.grpc = grpc.aio.server(
            interceptors=[Interceptor(deadline_seconds)],
            # What comes beyond is RESOURCE_EXHAUSTED at once, instead of waiting for its deadline in memory.
            maximum_concurrent_rpcs=calls_max,
            options=[
                # One process must not take a port another one serves; the default would share it silently.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", 256 * 1024),
                # Clients come back to find new replicas. No grace is set, so a stream in hand may outlive its time.
                ("grpc.max_connection_age_ms", 30_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )

    async def serving(self) -> None:
        """Raises ConnectionError unless calls are taken."""
        if not self._serving:
            raise ConnectionError("gRPC is not being served yet")

    async def run(self, stopping: asyncio.Event, *service_names: str) -> None:
        """Serve until `stopping` is set, then let the calls in hand end, as long as the grace allows.

        Raises:
            Misconfigured: somebody else listens there.
        """
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        reflection.enable_server_reflection(
            (*service_names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME),
            self.grpc,
        )
        try:
            self.grpc.add_insecure_port("{}:{}".format(*self._where))
        except RuntimeError as error:
            raise errors.port_taken("GRPC_PORT", *self._where) from error
        await self.grpc.start()
        for name in ("", *service_names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._serving = True
        await stopping.wait()
        await self._health.enter_graceful_shutdown()
        await self.grpc.stop(self._grace_seconds)
