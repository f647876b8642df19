"""One RPC by hand: found by reflection, sent from JSON, answered as JSON; what changes something is traced like any."""

import sys
from collections.abc import AsyncGenerator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.api.annotations_pb2 import http
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.json_format import MessageToDict, Parse, ParseError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from catalogue import SERVICE, SERVICES
from cli.failures import Failure, Impossible, Malformed, Unknown
from cli.reflection import NotOffered, Reflection
from cli.refusals import began_trace, failure
from cli.rpc import Rpc, unrecorded

UNARY_SECONDS, STREAM_SECONDS = 5.0, 330.0

Json = dict[str, Any]


class Call:
    """A method of a running service; `trace_id` is known once it has been called, and empty if nothing is recorded."""

    def __init__(
        self, service: str, method: MethodDescriptor, channel: grpc.aio.Channel, reflection: Reflection
    ) -> None:
        self.service, self.method, self.trace_id = service, method, ""
        self._channel, self._reflection = channel, reflection

    @property
    def asks(self) -> bool:
        """Whether it changes nothing, as its proto says: then it leaves no trace.

        It says so by itself, or by being served as a GET, which is safe (RFC 9110, 9.2.1).
        """
        # Read again: what reflection brings knows no extensions.
        options = MethodOptions.FromString(self.method.GetOptions().SerializeToString())
        extensions: Any = options.Extensions
        is_get = extensions[http].WhichOneof("pattern") == "get"
        return is_get or options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS

    def request(self, text: str) -> Message:
        """The request of a JSON text.

        Raises:
            Malformed: it is no JSON, or no such request.
        """
        message: Message = GetMessageClass(self.method.input_type)()
        try:
            return Parse(text, message, descriptor_pool=self._reflection.pool)
        except ParseError as error:
            why = " ".join(str(error).split()).rstrip(".")
            raise Malformed(
                f"This is no {self.method.input_type.name}: {why}.\n"
                f"See: ./shop call {self.service}/{self.method.name} --describe"
            ) from None

    async def answers(self, request: Message, seconds: float) -> AsyncGenerator[Json]:
        """One answer, or those of a stream.

        Raises:
            Failure: the service said no, or does not answer in time.
        """
        make = self._channel.unary_stream if self.method.server_streaming else self._channel.unary_unary
        path = f"/{self.method.containing_service.full_name}/{self.method.name}"
        asked, answered = (GetMessageClass(each) for each in (self.method.input_type, self.method.output_type))
        call: Any = make(path, asked.SerializeToString, answered.FromString)(
            request, timeout=seconds, metadata=unrecorded() if self.asks else None
        )
        try:
            if self.method.server_streaming:
                async for each in call:
                    yield self._told(each)
            else:
                yield self._told(await call)
            self.trace_id = began_trace(await call.trailing_metadata())
        except grpc.aio.AioRpcError as error:
            self.trace_id = began_trace(error.trailing_metadata())
            raise _spelled(failure(self.service, error)) from None
        finally:
            call.cancel()

    def _told(self, message: Message) -> Json:
        return MessageToDict(message, always_print_fields_with_no_presence=True, descriptor_pool=self._reflection.pool)


def _spelled(failed: Failure) -> Failure:
    """With the code and the rules, for one who calls by hand."""
    told = failed.details
    reason = f" ({told['reason']})" if told["reason"] else ""
    fields = [f"  {each['field']}: {each['description']}  [{each['rule']}]" for each in told["violations"]]
    said = "\n".join([f"{told['code']}{reason}", *fields]) if fields else f"{told['code']}{reason}: {failed}"
    return type(failed)(said, **told)


async def found(rpc: Rpc, name: str) -> Call:
    """The method by its name: `inventory/ReleaseStock`, or with the service's full name.

    Raises:
        Unknown: there is no such service or method.
        Impossible: it takes a stream.
        NoSystem: the service does not answer.
    """
    service, full_name, method = _parsed(name)
    channel = await rpc.channel(service)
    reflection = Reflection(channel)
    try:
        offered = await reflection.service(full_name)
    except NotOffered:
        raise Unknown(f"The {service} service offers no {full_name}; `./shop services` lists what it does.") from None
    except grpc.aio.AioRpcError as error:
        raise failure(service, error) from None
    if method not in offered.methods_by_name:
        names = list(offered.methods_by_name)
        near = get_close_matches(method, names, n=1, cutoff=0.4)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise Unknown(f"{full_name} has no method {method!r}.{meant} It has {', '.join(names)}.")
    described = offered.methods_by_name[method]
    if described.client_streaming:
        raise Impossible(f"{method} takes a stream of requests; this command sends one.")
    return Call(service, described, channel, reflection)


def _parsed(name: str) -> tuple[str, str, str]:
    """Short name of the service that is asked, full name of the gRPC service, method."""
    first, _, method = name.strip("/").rpartition("/")
    service, _, inner = first.partition("/")
    if service in SERVICE:
        # Each also offers gRPC's own: order/grpc.health.v1.Health/Check.
        return service, inner or SERVICE[service].rpc, method
    for known in SERVICES:
        if first == known.rpc:
            return known.name, known.rpc, method
    raise Unknown(
        f"There is no service {first or name!r}; there are {', '.join(SERVICE)}, each as SERVICE/METHOD such as"
        f" inventory/ReleaseStock."
    )


def read(request: str) -> str:
    """What was given as the request: JSON, `@FILE` or `-` for standard input.

    Raises:
        Malformed: the file cannot be read.
    """
    if request == "-":
        return sys.stdin.read()
    if not request.startswith("@"):
        return request
    try:
        return Path(request[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(f"{request[1:]} cannot be read: {error}") from None
