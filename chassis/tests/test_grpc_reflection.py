"""Reflection, both versions: what foreign clients ask before they know anything, and what they get."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass

from chassis.tests.participant import NAME, Participant, serving

VERSIONS = ["grpc.reflection.v1", "grpc.reflection.v1alpha"]
SERVICE_FILE = "shop/inventory/v1/inventory_service.proto"
# google.api.http, an extension of the options of methods.
METHOD_OPTIONS, HTTP = "google.protobuf.MethodOptions", 72295728


class Asker:
    """A client that asks one stream."""

    def __init__(self, channel: grpc.aio.Channel, package: str) -> None:
        def message(name: str) -> Any:
            return GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(f"{package}.{name}"))

        self.request = message("ServerReflectionRequest")
        self.stream: Any = channel.stream_stream(
            f"/{package}.ServerReflection/ServerReflectionInfo",
            self.request.SerializeToString,
            message("ServerReflectionResponse").FromString,
        )()

    async def ask(self, **question: Any) -> Any:
        await self.stream.write(self.request(**question))
        return await self.stream.read()

    async def files(self, **question: Any) -> list[str]:
        """Their names, that of the one that was asked for first."""
        answer = await self.ask(**question)
        found = answer.file_descriptor_response.file_descriptor_proto
        return [FileDescriptorProto.FromString(each).name for each in found]


@pytest.fixture(params=VERSIONS)
async def asker(request: pytest.FixtureRequest) -> AsyncIterator[Asker]:
    async with serving(Participant()) as address, grpc.aio.insecure_channel(address) as channel:
        yield Asker(channel, request.param)


async def test_services_are_listed(asker: Asker) -> None:
    """The shop's own, health, and both versions of reflection."""
    answer = await asker.ask(list_services="")
    assert [service.name for service in answer.list_services_response.service] == sorted(
        [NAME, "grpc.health.v1.Health", *(f"{version}.ServerReflection" for version in VERSIONS)]
    )


@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        (NAME, SERVICE_FILE),
        (f"{NAME}.ReleaseStock", SERVICE_FILE),
        ("shop.inventory.v1.ReleaseStockRequest", SERVICE_FILE),
        ("shop.inventory.v1.ReleaseStockRequest.order_id", SERVICE_FILE),
        ("shop.inventory.v1.Reservation.State", "shop/inventory/v1/inventory.proto"),
        ("shop.inventory.v1.Reservation.HELD", "shop/inventory/v1/inventory.proto"),
        ("google.protobuf.Timestamp", "google/protobuf/timestamp.proto"),
        ("google.api.http", "google/api/annotations.proto"),
        ("grpc.health.v1.Health.Watch", "grpc_health/v1/health.proto"),
        ("grpc.reflection.v1.ServerReflection.ServerReflectionInfo", "grpc/reflection/v1/reflection.proto"),
        ("grpc.reflection.v1alpha.ServerReflection", "grpc_reflection/v1alpha/reflection.proto"),
    ],
)
async def test_a_file_is_found_by_what_it_declares(asker: Asker, symbol: str, file: str) -> None:
    """A service, a method, a message, a field, an enum and its values; with all that it imports."""
    found = await asker.files(file_containing_symbol=symbol)
    assert found[0] == file
    assert len(set(found)) == len(found)
    if file == SERVICE_FILE:
        assert {"buf/validate/validate.proto", "google/protobuf/timestamp.proto"} <= set(found)


async def test_a_file_is_found_by_its_name(asker: Asker) -> None:
    for name in (SERVICE_FILE, "google/protobuf/descriptor.proto"):
        assert (await asker.files(file_by_filename=name))[0] == name


async def test_extensions_are_found(asker: Asker) -> None:
    """By the message that they extend, and their number."""
    extension = {"containing_type": METHOD_OPTIONS, "extension_number": HTTP}
    assert (await asker.files(file_containing_extension=extension))[0] == "google/api/annotations.proto"
    answer = await asker.ask(all_extension_numbers_of_type=METHOD_OPTIONS)
    assert HTTP in answer.all_extension_numbers_response.extension_number
    assert answer.all_extension_numbers_response.base_type_name == METHOD_OPTIONS
    none = await asker.ask(all_extension_numbers_of_type="shop.inventory.v1.Reservation")
    assert none.WhichOneof("message_response") == "all_extension_numbers_response"
    assert list(none.all_extension_numbers_response.extension_number) == []


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"file_by_filename": "no.proto"}, "there is no no.proto"),
        ({"file_containing_symbol": ""}, "file_containing_symbol"),
        ({"file_containing_symbol": f"{NAME}.NoMethod"}, f"there is no {NAME}.NoMethod"),
        ({"file_containing_symbol": f"{NAME}.ReleaseStock.more"}, "there is no"),
        ({"file_containing_symbol": "shop.inventory.v1"}, "there is no shop.inventory.v1"),
        (
            {"file_containing_extension": {"containing_type": METHOD_OPTIONS, "extension_number": 5}},
            f"there is no extension 5 of {METHOD_OPTIONS}",
        ),
        (
            {"file_containing_extension": {"containing_type": "no.Type", "extension_number": HTTP}},
            f"there is no extension {HTTP} of no.Type",
        ),
        ({"all_extension_numbers_of_type": "no.Type"}, "there is no no.Type"),
    ],
)
async def test_what_is_not_there_is_said_to_be_missing(asker: Asker, question: dict[str, Any], said: str) -> None:
    """By its name; the stream goes on, and the question comes back with the answer."""
    answer = await asker.ask(host="shop", **question)
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert said in answer.error_response.error_message
    assert answer.original_request == asker.request(host="shop", **question)
    assert answer.valid_host == "shop"
    assert (await asker.files(file_containing_symbol=NAME))[0] == SERVICE_FILE


async def test_a_question_about_nothing_is_refused(asker: Asker) -> None:
    answer = await asker.ask()
    assert answer.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_a_client_that_has_asked_enough_ends_the_call(asker: Asker) -> None:
    await asker.ask(list_services="")
    await asker.stream.done_writing()
    assert await asker.stream.code() is grpc.StatusCode.OK
