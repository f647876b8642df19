"""The rules of the protos: an id has one spelling, in every request of every service."""

from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from buf.validate import validate_pb2
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from shop.inventory.v1 import inventory_service_pb2
from shop.inventory.v1.inventory_service_pb2_grpc import InventoryServiceStub
from shop.order.v1 import order_service_pb2
from shop.order.v1.order_pb2 import Order
from shop.payment.v1 import payment_service_pb2

from chassis import errors, grpc_client
from chassis.tests.participant import Participant, serving
from chassis.validation import Validator

ID = "0198c0de-0000-7000-8000-00000000000a"
OTHERS = [
    ID.upper(),
    ID.replace("a", "A"),
    f"urn:uuid:{ID}",
    f"{{{ID}}}",
    ID.replace("-", ""),
    f" {ID}",
    f"{ID} ",
    f"{ID}\n",
    "",
]


def requests_with_ids() -> Iterator[tuple[type[Message], str]]:
    """Every request of the three services, with each of its fields that a rule says is a UUID."""
    for file in (inventory_service_pb2, order_service_pb2, payment_service_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                for field in method.input_type.fields:
                    options: Any = field.GetOptions()
                    if options.Extensions[validate_pb2.field].string.uuid:
                        yield GetMessageClass(method.input_type), field.name


REQUESTS = list(requests_with_ids())


def violations(request: Message) -> list[str]:
    """The fields at fault."""
    try:
        Validator().check(request)
    except errors.Invalids as invalids:
        return [violation.field for violation in invalids.violations]
    return []


def test_the_requests_are_found() -> None:
    assert {request.DESCRIPTOR.name for request, _ in REQUESTS} >= {"GetOrderRequest", "RefundPaymentRequest"}
    assert len(REQUESTS) >= 12


@pytest.mark.parametrize(("request_class", "field"), REQUESTS)
def test_an_id_in_another_spelling_is_refused_by_name(request_class: type[Message], field: str) -> None:
    """In capitals it would be another order: ids are compared as text."""
    assert field not in violations(request_class(**{field: ID}))
    for other in OTHERS:
        assert field in violations(request_class(**{field: other})), other


def test_an_id_inside_of_a_message_is_named_by_its_path() -> None:
    """Rules hold wherever the message is part of another."""
    orders = [Order(order_id=ID), Order(order_id=ID.upper()), Order(order_id=ID)]
    assert violations(order_service_pb2.ListOrdersResponse(orders=orders)) == ["orders[1].order_id"]
    assert violations(order_service_pb2.ListOrdersResponse(orders=orders[:1])) == []


def test_of_many_ids_the_first_are_named() -> None:
    """A status travels in metadata, of which a client takes little."""
    with pytest.raises(errors.Invalids, match=r"and 97 more$") as refused:
        Validator().check(order_service_pb2.ListOrdersResponse(orders=[Order(order_id=ID.upper())] * 100))
    assert len(refused.value.violations) == 20


async def test_a_service_never_sees_an_id_in_capitals() -> None:
    """It would look for another order, and find none."""
    participant = Participant()
    async with serving(participant) as address, grpc_client.connect(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="order_id: must be a UUID") as refused:
            await InventoryServiceStub(channel).ReleaseStock(
                inventory_service_pb2.ReleaseStockRequest(order_id=ID.upper())
            )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert participant.asked == []
