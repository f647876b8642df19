"""One RPC on its way through a server: its span, its deadline, its rules, and what its end means to the caller."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from opentelemetry.context import attach
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from chassis import database, errors, grpc_codes, logs, telemetry
from chassis.grpc_client import deadline
from chassis.grpc_limits import FIRST_MESSAGE_SECONDS_MAX, NoRequest, too_late
from chassis.telemetry import ORDER_ID, TraceContext
from chassis.validation import Validator

log = logs.get(__name__)

# Trailing metadata, of a call that began a trace.
TRACE_RESPONSE = "traceresponse"
_RPC_DURATION = telemetry.meter.create_histogram(
    "rpc.server.call.duration", unit="s", description="How long RPCs take, by method and status."
)


class Call:
    """One RPC on its way through the server.

    Its SERVER span is the span of the unit of work too, and leads to the handler that decides; where there is none, to
    the servicer's own method.

    grpc.aio runs each RPC in a task, hence in a context of its own: what is set here needs no undoing.
    """

    def __init__(
        self, method: str, request: Message | NoRequest | None, context: Any, servicer: Callable[..., Any]
    ) -> None:
        self._method, self._request, self._context, self._servicer = method, request, context, servicer
        self._began = time.perf_counter()
        self._code, self._limit = grpc.StatusCode.OK, asyncio.timeout(None)
        self._awaits_message = False
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

    def await_message(self) -> Callable[[], None]:
        """Let the call end unless a message comes soon; returns what is to be called when it has."""
        then, now = self._limit.when(), asyncio.get_running_loop().time()
        soon = now + FIRST_MESSAGE_SECONDS_MAX
        if then is None or soon < then:
            self._limit.reschedule(soon)
            self._awaits_message = True

        def came() -> None:
            if self._awaits_message and not self._limit.expired():
                self._awaits_message = False
                self._limit.reschedule(then)

        return came

    async def check(self, validator: Validator) -> None:
        """Drop what comes too late, or asks nothing; refuse what breaks a rule of its proto.

        The requests of a stream come later, and are checked one by one.
        """
        if isinstance(self._request, NoRequest):
            raise self._request
        left = self._context.time_remaining()
        if left is not None and left <= 0:
            self._code = grpc.StatusCode.DEADLINE_EXCEEDED
            await self._context.abort(self._code, "the deadline had passed before the work began")
        if self._request is not None:
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
        if isinstance(error, NoRequest):
            self._code = error.code
            await self._context.abort(error.code, error.details)
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            self._code = grpc.StatusCode.CANCELLED
        elif isinstance(error, TimeoutError) and self._limit.expired():
            self._code = grpc.StatusCode.DEADLINE_EXCEEDED
            details = "it took too long, and the caller had set no deadline"
            await self._context.abort(self._code, too_late().details if self._awaits_message else details)
        elif isinstance(error, grpc.aio.AbortError):
            self._code = self._context.code()
        else:
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
