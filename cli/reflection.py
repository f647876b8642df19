"""What a gRPC server says it offers, asked by reflection: nothing of it has to be known, or compiled, before.

Source: `grpc/reflection/v1alpha/reflection.proto`.
"""

from typing import Any

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

SECONDS_MAX = 5.0


class NotOffered(Exception):
    """The server knows no such name."""


class Reflection:
    """One server, asked.

    Every question raises grpc.aio.AioRpcError if the server does not answer.
    """

    def __init__(self, channel: grpc.aio.Channel, seconds_max: float = SECONDS_MAX) -> None:
        make: Any = ServerReflectionStub
        self._stub = make(channel)
        self._seconds_max = seconds_max
        self.pool = DescriptorPool()
        self._files: dict[str, FileDescriptorProto] = {}
        self._added = set[str]()

    async def services(self) -> list[str]:
        """Full names, sorted."""
        answer = await self._ask(ServerReflectionRequest(list_services="*"))
        return sorted(service.name for service in answer.list_services_response.service)

    async def service(self, full_name: str) -> ServiceDescriptor:
        """One service with its methods; its messages are in the pool then.

        Raises:
            NotOffered: the server knows no such service.
        """
        for name in await self._learn(ServerReflectionRequest(file_containing_symbol=full_name)):
            await self._add(name)
        try:
            return self.pool.FindServiceByName(full_name)
        except KeyError:
            raise NotOffered(full_name) from None

    async def _learn(self, question: ServerReflectionRequest) -> list[str]:
        """The names of the files that the answer brings; most servers send what they import along."""
        answer = await self._ask(question)
        found = [FileDescriptorProto.FromString(file) for file in answer.file_descriptor_response.file_descriptor_proto]
        self._files |= {file.name: file for file in found}
        return [file.name for file in found]

    async def _add(self, name: str) -> None:
        """What a file imports goes into the pool before it."""
        if name in self._added:
            return
        self._added.add(name)
        if name not in self._files:
            await self._learn(ServerReflectionRequest(file_by_filename=name))
        for imported in self._files[name].dependency:
            await self._add(imported)
        self.pool.Add(self._files[name])

    async def _ask(self, question: ServerReflectionRequest) -> ServerReflectionResponse:
        call = self._stub.ServerReflectionInfo(iter([question]), timeout=self._seconds_max)
        answer: ServerReflectionResponse = await call.read()
        if answer.HasField("error_response"):
            raise NotOffered(answer.error_response.error_message)
        call.cancel()
        return answer
