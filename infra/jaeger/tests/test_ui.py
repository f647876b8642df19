"""The links of the web interface name tags that spans have and addresses that exist; Jaeger hands them to its page."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from shop.order.v1 import order_service_pb2

from chassis import telemetry
from chassis.relay import Relay
from chassis.source import code
from infra.jaeger.tests.container import QUERY, ROOT, Jaeger

UI: dict[str, Any] = json.loads((ROOT / "infra/jaeger/ui.json").read_text())
TAGS = {telemetry.ORDER_ID, *code(Relay.round)}


def test_links_are_made_of_tags_that_spans_have() -> None:
    """A misspelt tag would be a link that never shows up."""
    for link in UI["linkPatterns"]:
        keys = [link["key"]] if isinstance(link["key"], str) else link["key"]
        assert TAGS.issuperset(keys)
        assert TAGS.issuperset(re.findall(r"#\{([^{}]*)\}", link["url"] + link["text"]))


def test_the_link_of_an_order_is_a_route_of_the_gateway() -> None:
    """The route is the one that the proto declares."""
    (url,) = [link["url"] for link in UI["linkPatterns"] if link["key"] == telemetry.ORDER_ID]
    declared = order_service_pb2.DESCRIPTOR.serialized_pb.decode(errors="replace")
    assert url.removeprefix("http://127.0.0.1:8080").replace("#{shop.order.id}", "{order_id}") in declared


@pytest.mark.docker
def test_jaeger_hands_the_configuration_to_its_page(tmp_path: Path) -> None:
    """The placeholder page of an image without the interface shows it as well."""
    with Jaeger(tmp_path, "memory") as jaeger:
        found = re.search(r"JAEGER_CONFIG = (\{.*\});", jaeger.page(QUERY))
        assert found is not None
        assert json.loads(found[1]) == UI
