"""What the catalogue says of the services is what the services do."""

from pydantic import SecretStr
from shop.inventory.v1 import inventory_events_pb2, inventory_service_pb2
from shop.order.v1 import order_events_pb2, order_service_pb2
from shop.payment.v1 import payment_events_pb2, payment_service_pb2

from catalogue import HEARD_BY, LATER, SERVICE
from services.inventory.__main__ import SHIPPING
from services.order.__main__ import subscription
from services.order.settings import OrderSettings
from services.payment.__main__ import REFUNDS

NOWHERE = SecretStr("postgresql+asyncpg://nobody@127.0.0.1/nothing")
FILES = (order_service_pb2, payment_service_pb2, inventory_service_pb2)


def test_an_event_is_heard_by_the_groups_that_have_a_handler_for_it() -> None:
    """What a group ignores has no `process` span; who waited for one would take the trace to be incomplete for ever."""
    saga = subscription(OrderSettings(database_url=NOWHERE, database_owner_url=NOWHERE))
    heard = {(event.DESCRIPTOR.full_name, each.group) for each in (saga, REFUNDS, SHIPPING) for event in each.handlers}

    assert heard == {(event, group) for event, groups in HEARD_BY.items() for group in groups}


def test_every_event_is_known_though_nobody_may_hear_it() -> None:
    """Who reads a timeline tells by it which entries are messages, and which are facts of the saga alone."""
    events = {
        message.full_name
        for file in (inventory_events_pb2, order_events_pb2, payment_events_pb2)
        for message in file.DESCRIPTOR.message_types_by_name.values()
    }

    assert events == HEARD_BY.keys()


def test_what_begins_a_trace_of_its_own_is_a_method_of_its_service() -> None:
    """The search goes by the names of spans, which are those of the methods."""
    services = {service.full_name: service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()}
    for name, span, _ in LATER:
        rpc, _, method = span.partition("/")
        assert rpc == SERVICE[name].rpc
        assert method in services[rpc].methods_by_name
