"""The configuration of Jaeger's page names tags and addresses that exist, and Jaeger takes it as it is."""

import re
from pathlib import Path

import pytest
from shop.order.v1 import order_service_pb2

from chassis import telemetry
from chassis.relay import Relay
from chassis.source import code
from infra.jaeger.page import CONFIGURATION
from infra.jaeger.tests.container import QUERY, Jaeger

TAGS = {telemetry.ORDER_ID, *code(Relay.round)}


def test_links_are_made_of_tags_that_spans_have() -> None:
    """A misspelt tag would be a link that never shows up."""
    assert set(re.findall(r"[\"{]((?:shop|code)\.[\w.]+)[\"}]", CONFIGURATION)) == TAGS


def test_the_link_of_an_order_is_a_route_of_the_gateway() -> None:
    """The route is the one that the proto declares."""
    [path] = re.findall(r'gateway \+ "(.+)"', CONFIGURATION)
    declared = order_service_pb2.DESCRIPTOR.serialized_pb.decode(errors="replace")
    assert path.replace("#{shop.order.id}", "{order_id}") in declared


@pytest.mark.docker
def test_jaeger_puts_the_file_into_its_page_and_changes_nothing_else(tmp_path: Path) -> None:
    """Not a letter of it is lost, and a page without it is the page that Jaeger has by itself."""
    with Jaeger(tmp_path, "memory") as jaeger:
        before, found, after = jaeger.page(QUERY).partition(CONFIGURATION)
    with Jaeger(tmp_path, "memory", "extensions::jaeger_query::ui::config_file: ''") as jaeger:
        own = jaeger.page(QUERY)
    assert found
    assert own.startswith(before)
    assert own.endswith(after)
    assert re.fullmatch(r"\s*// JAEGER_CONFIG_JS.*\n.*", own.removeprefix(before).removesuffix(after))
