"""The services' gRPC servers, asked as JSON. What the command line asks for itself leaves no trace.

query ─ traceparent of a caller that records nothing ─▶ service: no span      command ─▶ service: a trace
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from shop.inventory.v1 import inventory_service_pb2 as inventory
from shop.order.v1 import order_service_pb2 as order
from shop.payment.v1 import payment_service_pb2 as payment

from catalogue import SERVICE
from cli.failures import NoSystem
from cli.refusals import began_trace, failure
from cli.systems.running import Running

CALL_SECONDS_MAX = 5.0

Json = dict[str, Any]

_FILES = {"order": order, "payment": payment, "inventory": inventory}


def unrecorded() -> list[tuple[str, str]]:
    """Metadata by which a service records no span: its caller's trace is not sampled, and ours goes nowhere."""
    return [("traceparent", f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00")]


class Rpc:
    """`async with Rpc(system) as rpc: await rpc.ask("order/GetOrder", {"order_id": …})`."""

    def __init__(self, system: Running) -> None:
        self._system = system
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def __aenter__(self) -> "Rpc":
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels.values():
            await channel.close()

    async def ask(self, method: str, request: Json | None = None) -> Json:
        """One unary call; `method` is a service's short name and the method, such as `order/GetOrder`.

        Raises:
            Failure: the service said no, or does not answer; the message is what it said.
        """
        answer, _ = await self._call(method, request, unrecorded())
        return answer

    async def act(self, method: str, request: Json) -> tuple[Json, str]:
        """The same, done by an operator: traced like any call; also the id of its trace, empty if none is recorded."""
        return await self._call(method, request, [])

    async def _call(self, method: str, request: Json | None, metadata: list[tuple[str, str]]) -> tuple[Json, str]:
        service = method.partition("/")[0]
        make, message = await self._prepared(method, request)
        call = make(message, timeout=CALL_SECONDS_MAX, metadata=metadata, wait_for_ready=False)
        try:
            answer = MessageToDict(await call, always_print_fields_with_no_presence=True)
            return answer, began_trace(await call.trailing_metadata())
        except grpc.aio.AioRpcError as error:
            await self._lost(service, error)
            raise failure(service, error) from None

    async def stream(self, method: str, request: Json, seconds_max: float) -> AsyncIterator[Json]:
        """A server stream, until it ends or so many seconds have passed."""
        call, message = await self._prepared(method, request)
        try:
            async for answer in call(message, timeout=seconds_max, metadata=unrecorded()):
                yield MessageToDict(answer, always_print_fields_with_no_presence=True)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                service = method.partition("/")[0]
                await self._lost(service, error)
                raise failure(service, error) from None

    async def pages(self, method: str, field: str, request: Json | None = None, limit: int = 1000) -> list[Json]:
        """What a list method has, all its pages, at most `limit`."""
        found: list[Json] = []
        token = ""
        while len(found) < limit:
            page = await self.ask(method, {**(request or {}), "pageSize": min(100, limit), "pageToken": token})
            found += page[field]
            if not (token := page["nextPageToken"]):
                break
        return found[:limit]

    async def _prepared(self, method: str, request: Json | None) -> tuple[Any, Message]:
        service, _, name = method.partition("/")
        described = _FILES[service].DESCRIPTOR.services_by_name[SERVICE[service].rpc.rpartition(".")[2]]
        found = described.methods_by_name[name]
        kind, answer = (GetMessageClass(each) for each in (found.input_type, found.output_type))
        channel = await self.channel(service)
        make = channel.unary_stream if found.server_streaming else channel.unary_unary
        path = f"/{SERVICE[service].rpc}/{name}"
        return make(path, kind.SerializeToString, answer.FromString), ParseDict(request or {}, kind())

    async def _lost(self, service: str, error: grpc.aio.AioRpcError) -> None:
        """After a restart a service may be at another address."""
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            await self.forget(service)

    async def forget(self, service: str) -> None:
        """Look for the service anew the next time."""
        if channel := self._channels.pop(service, None):
            await channel.close()

    async def channel(self, service: str) -> grpc.aio.Channel:
        """A channel to the first replica of a service.

        Raises:
            NoSystem: none can be reached.
        """
        if service not in self._channels:
            replicas = await self._system.replicas(service)
            if not replicas:
                raise NoSystem(f"The {service} service does not run; `./shop doctor` says more.")
            self._channels[service] = grpc.aio.insecure_channel(replicas[0].address, options=OPTIONS)
        return self._channels[service]


# A service that was away is looked for again at once.
OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", 4 * 2**20),
    # The proxy of `http_proxy` leads out of the house.
    ("grpc.enable_http_proxy", 0),
)
