"""Serves one server-streaming RPC as server-sent events or as newline-delimited JSON.

gRPC messages ─┐
client gone  ──┼─▶ the next line, a keep-alive comment, or the end
stopping     ──┘
"""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import grpc.aio
from google.protobuf.message import Message
from starlette.types import Receive, Scope, Send

from chassis import telemetry
from gateway import problems
from gateway.binding import AFTER_POSITION_FIELD, Binder, Bound
from gateway.exchange import ClientGone, Gate, Headers, send_problem
from gateway.problems import Problem
from gateway.routes import bind, order_id_of
from gateway.rules import Rule
from gateway.settings import GatewaySettings
from gateway.stream_formats import EventStream, Format, negotiated


class StreamEndpoint:
    """Serves one server-streaming RPC."""

    def __init__(
        self, rule: Rule, channel: grpc.aio.Channel, settings: GatewaySettings, gate: Gate, stopping: asyncio.Event
    ) -> None:
        self._rule, self._settings, self._gate, self._stopping = rule, settings, gate, stopping
        self._binder = Binder(rule)
        self._call: Any = channel.unary_stream(
            rule.rpc_path,
            request_serializer=rule.request_class.SerializeToString,
            response_deserializer=rule.response_class.FromString,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._gate:
                await self._serve(scope, receive, send)
        except Problem as problem:
            await send_problem(send, problem)
        except ClientGone:
            return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        telemetry.leads_to(StreamEndpoint.__call__)
        headers = Headers(scope)
        shown_as = negotiated(headers.joined(b"accept"))
        bound = await bind(self._rule, self._binder, self._settings, scope, receive)
        with telemetry.about_order(order_id_of(bound.message)):
            call = self._call(bound.message, timeout=self._settings.stream_deadline_seconds)
        # Position 0 in a query says as much as no position; in the header it is of a client that comes back.
        resumed = AFTER_POSITION_FIELD in bound.header_names or bool(getattr(bound.message, AFTER_POSITION_FIELD, 0))
        await Relay(call, bound, shown_as, self._settings, self._stopping).run(receive, send, resumed)


class Relay:
    """One open stream, from the call to its end; the call is cancelled when the client or the gateway leaves first."""

    def __init__(
        self, call: Any, bound: Bound, shown_as: Format, settings: GatewaySettings, stopping: asyncio.Event
    ) -> None:
        self._call, self._bound, self._shown_as, self._settings = call, bound, shown_as, settings
        self._stopping = stopping
        self._responses: AsyncIterator[Message] = aiter(call)

    async def run(self, receive: Receive, send: Send, resumed: bool) -> None:
        """Relay until either side ends.

        Args:
            receive: says when the client has gone.
            send: takes the answer.
            resumed: the client begins behind a position. If there is nothing more to come it is told so with 204, for
                an event source that gets an end connects again, forever.
        """
        reading = asyncio.create_task(self._next())
        leaving = asyncio.create_task(_hung_up(receive)), asyncio.create_task(self._stopping.wait())
        try:
            # A refusal that comes before the first message can still be a problem document with its own status.
            await _first_of({reading, *leaving}, self._settings.stream_open_seconds)
            if reading.done() and isinstance(failed := reading.exception(), grpc.aio.AioRpcError):
                raise self._bound.problem(failed)
            if reading.done() and reading.result() is None and resumed and self._shown_as is EventStream:
                await send({"type": "http.response.start", "status": HTTPStatus.NO_CONTENT, "headers": []})
                await send({"type": "http.response.body"})
            else:
                await self._start(send)
                reading = await self._relay(reading, leaving, send)
        finally:
            self._call.cancel()
            for task in (reading, *leaving):
                task.cancel()
            await asyncio.gather(reading, *leaving, return_exceptions=True)

    async def _next(self) -> Message | None:
        return await anext(self._responses, None)

    async def _start(self, send: Send) -> None:
        headers = [
            (b"content-type", self._shown_as.media_type.encode()),
            (b"cache-control", b"no-store"),
            # Proxies that buffer would hold events back until there are enough of them.
            (b"x-accel-buffering", b"no"),
            *self._bound.headers,
        ]
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})

    async def _relay(
        self, reading: asyncio.Task[Message | None], leaving: tuple[asyncio.Task[Any], asyncio.Task[Any]], send: Send
    ) -> asyncio.Task[Message | None]:
        """Send what comes; returns the read that is still open."""
        hung_up, stopping = leaving
        last = b""
        while not hung_up.done():
            if reading.done():
                try:
                    message = reading.result()
                except grpc.aio.AioRpcError as error:
                    last = self._shown_as.error(self._bound.problem(error))
                    break
                if message is None:
                    break
                reading = asyncio.create_task(self._next())
                await _send_part(send, self._shown_as.message(message))
            elif stopping.done():
                last = self._shown_as.error(problems.unavailable("The gateway is being restarted; resume the stream."))
                break
            elif not await _first_of({reading, *leaving}, self._settings.stream_keep_alive_seconds):
                await _send_part(send, self._shown_as.keep_alive)
        await send({"type": "http.response.body", "body": last})
        return reading


async def _first_of(tasks: set[asyncio.Task[Any]], seconds: float) -> bool:
    """Wait until one of the tasks has ended; False if none has by then."""
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_part(send: Send, part: bytes) -> None:
    if part:
        await send({"type": "http.response.body", "body": part, "more_body": True})
