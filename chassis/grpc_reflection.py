"""Server reflection, v1 and v1alpha: what a server offers, as descriptors, to clients that know nothing of it.

Messages of both versions are equal but for their package, so one servicer answers both.

Source: `protos/vendor/grpc/reflection/v1/reflection.proto`.
"""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2

# The wheel has v1alpha alone. No module can be generated for v1: it would be one of the package `grpc`, which is there.
_V1 = Path(__file__).resolve().parent.parent / "protos" / "generated" / "reflection.binpb"
_POOL = descriptor_pool.Default()


def _services() -> list[Any]:
    for file in FileDescriptorSet.FromString(_V1.read_bytes()).file:
        _POOL.Add(file)
    v1 = _POOL.FindFileByName("grpc/reflection/v1/reflection.proto")
    return [file.services_by_name["ServerReflection"] for file in (v1, reflection_pb2.DESCRIPTOR)]


class Reflection:
    """Answers what is asked about the services of these names, and about whatever else this process has descriptors of.

    What cannot be found is an answer too, with a code and a text: the stream goes on.
    """

    def __init__(self, service_names: Iterable[str]) -> None:
        self._versions = _services()
        self._names = sorted([*service_names, *(service.full_name for service in self._versions)])

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve both versions."""
        for service in self._versions:
            [method] = service.methods
            handler = grpc.stream_stream_rpc_method_handler(
                self._info,
                GetMessageClass(method.input_type).FromString,
                GetMessageClass(method.output_type).SerializeToString,
            )
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service.full_name, {method.name: handler}),)
            )

    async def _info(self, requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            response: Any = GetMessageClass(_POOL.FindMessageTypeByName(_answer_to(request)))()
            response.valid_host = request.host
            response.original_request.CopyFrom(request)
            self._answer(request, response)
            yield response

    def _answer(self, request: Any, response: Any) -> None:
        kind = request.WhichOneof("message_request")
        try:
            match kind:
                case "list_services":
                    for name in self._names:
                        response.list_services_response.service.add(name=name)
                case "file_by_filename":
                    _fill(response, _POOL.FindFileByName(request.file_by_filename))
                case "file_containing_symbol":
                    _fill(response, _file_of(request.file_containing_symbol))
                case "file_containing_extension":
                    asked = request.file_containing_extension
                    extended = _POOL.FindMessageTypeByName(asked.containing_type)
                    _fill(response, _file_of(_POOL.FindExtensionByNumber(extended, asked.extension_number).full_name))
                case "all_extension_numbers_of_type":
                    extended = _POOL.FindMessageTypeByName(request.all_extension_numbers_of_type)
                    found = response.all_extension_numbers_response
                    found.base_type_name = extended.full_name
                    found.extension_number.extend(sorted(each.number for each in _POOL.FindAllExtensions(extended)))
                case _:
                    _refuse(
                        response, grpc.StatusCode.INVALID_ARGUMENT, "the request asks for nothing that is known here"
                    )
        except KeyError:
            _refuse(response, grpc.StatusCode.NOT_FOUND, f"{kind}: there is no {_asked(request, kind)}")


def _answer_to(request: Any) -> str:
    return f"{request.DESCRIPTOR.file.package}.ServerReflectionResponse"


def _asked(request: Any, kind: str) -> str:
    asked = getattr(request, kind)
    is_extension = kind == "file_containing_extension"
    return (f"extension {asked.extension_number} of {asked.containing_type}" if is_extension else asked)[:200]


def _refuse(response: Any, code: grpc.StatusCode, message: str) -> None:
    response.error_response.error_code = code.value[0]
    response.error_response.error_message = message


def _file_of(symbol: str) -> FileDescriptor:
    """The file that declares a service, a message, an enum, or what one of them has: a method, a field, a value.

    Raises:
        KeyError: none does.
    """
    try:
        return _POOL.FindFileContainingSymbol(symbol)
    except KeyError:
        # The pool knows a method by its service alone.
        owner, _, name = symbol.rpartition(".")
        return _POOL.FindServiceByName(owner).methods_by_name[name].containing_service.file


def _fill(response: Any, file: FileDescriptor) -> None:
    """With the file, and all that it imports, directly or not: most clients ask no second time."""
    found: dict[str, FileDescriptor] = {}
    _collect(file, found)
    for each in found.values():
        proto = FileDescriptorProto()
        each.CopyToProto(proto)
        response.file_descriptor_response.file_descriptor_proto.append(proto.SerializeToString())


def _collect(file: FileDescriptor, found: dict[str, FileDescriptor]) -> None:
    if file.name not in found:
        found[file.name] = file
        for dependency in file.dependencies:
            _collect(dependency, found)
