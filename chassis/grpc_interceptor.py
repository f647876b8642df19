"""What every RPC gets before and after its servicer sees it, whether requests, responses or both are streams.

call ─▶ first message ─▶ SERVER span ─▶ deadline ─▶ validation ─▶ servicer ─▶ refusals and faults become a status

Every handler is registered as one that takes a stream of requests, on the wire there is no difference: only so does it
begin before the first message has come, and can end when none does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from chassis.grpc_calls import Call
from chassis.grpc_limits import (
    FIRST_MESSAGE_SECONDS_MAX,
    WATCHES_OF_A_CONNECTION_MAX,
    Incoming,
    NoRequest,
    Places,
    ReadingContext,
    first_message,
    too_late,
)
from chassis.validation import Validator

# The longest that a client of ours leaves a stream open (`STREAM_DEADLINE_SECONDS` of the gateway).
STREAM_SECONDS_MAX = 330.0

Servicer = Callable[[Any, Any], Any]


class Interceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler once: those of the shop's own services, and, with less, health and reflection.

    Args:
        deadline_seconds: the longest that a call with one response may take whose caller has set no deadline.
    """

    def __init__(self, deadline_seconds: float) -> None:
        self._deadline_seconds = deadline_seconds
        self._validator = Validator()
        self._watches = Places(WATCHES_OF_A_CONNECTION_MAX)
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
            if handler is None:
                return None
            wrapped = self._wrapped[method] = self._wrap(method.lstrip("/"), handler)
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        servicer: Servicer = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )
        # Health and reflection are the chassis' own and are asked all the time.
        if method.startswith("grpc."):
            answer = self._infrastructure(handler, servicer)
        elif handler.request_streaming or handler.response_streaming:
            answer = self._stream(method, handler, servicer)
        else:
            answer = self._unary(method, servicer)
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(answer, handler.request_deserializer, handler.response_serializer)

    def _unary(self, method: str, servicer: Servicer) -> Servicer:
        async def unary_unary(_requests: Any, context: Any) -> Message:
            request = await first_message(context)
            call = Call(method, request, context, servicer)
            try:
                async with call.limit(self._deadline_seconds):
                    await call.check(self._validator)
                    response = await servicer(request, context)
                call.answered(response)
            except BaseException as error:
                await call.failed(error)
                raise
            else:
                return response
            finally:
                call.end()

        return unary_unary

    def _stream(self, method: str, handler: Any, servicer: Servicer) -> Servicer:
        is_many, seconds_max = handler.request_streaming, self._deadline_seconds
        if handler.response_streaming:
            seconds_max = STREAM_SECONDS_MAX

        async def stream(_requests: Any, context: Any) -> Message | None:
            request = None if is_many else await first_message(context)
            call = Call(method, request, context, servicer)
            try:
                async with call.limit(seconds_max):
                    await call.check(self._validator)
                    if is_many:
                        request = Incoming(context, call.await_message(), self._validator.check)
                    response = await _answered(servicer, handler, request, context)
                if response is not None:
                    call.answered(response)
            except BaseException as error:
                await call.failed(error)
                raise
            else:
                return response
            finally:
                call.end()

        return stream

    def _infrastructure(self, handler: Any, servicer: Servicer) -> Servicer:
        """Neither traced nor measured, and open for as long as the caller likes: so each connection has few of them."""

        async def watch(_requests: Any, context: Any) -> Message | None:
            peer = context.peer()
            is_open = handler.request_streaming or handler.response_streaming
            if is_open and not self._watches.take(peer):
                await context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"a connection may have {WATCHES_OF_A_CONNECTION_MAX} watches of health and reflection open",
                )
            try:
                if handler.request_streaming:
                    return await _patiently(servicer, handler, context)
                request = await first_message(context)
                if isinstance(request, NoRequest):
                    raise request
                return await _answered(servicer, handler, request, context)
            except NoRequest as missing:
                await context.abort(missing.code, missing.details)
            finally:
                if is_open:
                    self._watches.free(peer)

        return watch


async def _patiently(servicer: Servicer, handler: Any, context: Any) -> Message | None:
    """Let it answer requests that come for as long as the caller likes, once the first one has come.

    Raises:
        NoRequest: it has not.
    """

    def came() -> None:
        if not patience.expired():
            patience.reschedule(None)

    try:
        async with asyncio.timeout(FIRST_MESSAGE_SECONDS_MAX) as patience:
            return await _answered(servicer, handler, Incoming(context, came, lambda _: None), context)
    except TimeoutError:
        raise too_late() from None


async def _answered(servicer: Servicer, handler: Any, request: Any, context: Any) -> Message | None:
    """Let the servicer answer, by what it returns, yields or writes; returns the response that is the only one."""
    if not isinstance(request, Incoming):
        return await _answer(servicer, handler, request, context)
    try:
        return await _answer(servicer, handler, request, ReadingContext(context, request))
    finally:
        await request.close()


async def _answer(servicer: Servicer, handler: Any, request: Any, context: Any) -> Message | None:
    answer = servicer(request, context)
    if not handler.response_streaming:
        return await answer
    if not hasattr(answer, "__aiter__"):
        return await answer
    async with aclosing(answer) as responses:
        async for response in responses:
            await context.write(response)
    return None
