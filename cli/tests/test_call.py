"""`shop call`: any method of a service, found by reflection, as JSON."""

import json
from pathlib import Path
from uuid import uuid4

import pytest

from cli.tests.commands import Commands
from cli.tests.orders import UNKNOWN, decided, without
from infra.local.system import System

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_method_is_called_by_its_short_or_its_full_name(shop: Commands) -> None:
    """proto3 JSON in, proto3 JSON out."""
    for name in ("inventory/GetStock", "shop.inventory.v1.InventoryService/GetStock"):
        said = await shop.run("call", name, '{"sku": "sold-out"}')
        assert (said.code, said.errors) == (0, "")
        assert (said.json["sku"], said.json["available"]) == ("sold-out", "0")
    health = await shop.run("call", "order/grpc.health.v1.Health/Check")
    assert health.json == {"status": "SERVING"}


async def test_a_request_comes_from_a_file_or_from_standard_input(shop: Commands, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"sku": "last-one"}')
    assert (await shop.run("call", "inventory/GetStock", f"@{file}", "--json")).json["sku"] == "last-one"
    given = await shop.given('{"sku": "grinder"}', "call", "inventory/GetStock", "-")
    assert given.json["sku"] == "grinder"
    missing = await shop.run("call", "inventory/GetStock", "@nowhere.json")
    assert (missing.code, "nowhere.json cannot be read" in missing.errors) == (2, True)


async def test_a_stream_is_an_answer_a_line(shop: Commands) -> None:
    """It ends by itself, or when the time that was given is over."""
    order = await decided(shop, "--card", "tok_declined")
    request = json.dumps({"orderId": order["orderId"]})
    said = await shop.run("call", "order/WatchOrder", request)
    assert (said.code, said.objects[-1]["event"], said.errors) == (0, "shop.order.v1.OrderRejected", "")
    order = await decided(shop)
    request = json.dumps({"orderId": order["orderId"]})
    said = await shop.run("call", "order/WatchOrder", request, "--timeout", "0.5")
    assert (said.code, len(said.objects), said.errors) == (0, 4, "Ended after 0.5 s, as told.\n")


async def test_what_changes_something_leaves_a_trace_and_says_where(shop: Commands, system: System) -> None:
    """What only asks leaves none."""
    order_id = str(uuid4())
    said = await shop.run("call", "inventory/ReleaseStock", json.dumps({"orderId": order_id}))
    assert (said.code, said.json["state"]) == (0, "RELEASED")
    assert said.errors.startswith(f"trace {system.traces_url}/trace/")
    asked = await shop.run("call", "inventory/GetReservation", json.dumps({"orderId": order_id}))
    assert (asked.json["state"], asked.errors) == ("RELEASED", "")


async def test_a_no_is_told_with_its_code_and_the_fields_at_fault(shop: Commands) -> None:
    """For a person, and for a program; the exit code says the kind."""
    lines = '{"orderId": "no-uuid", "lines": [{"sku": "grinder", "quantity": 0}]}'
    said = await shop.run("call", "inventory/ReserveStock", lines)
    _trace, first, *fields = said.errors.splitlines()[:4]
    assert (said.code, first) == (2, "INVALID_ARGUMENT (INVALID)")
    assert [field.split(":")[0] for field in fields] == ["  order_id", "  lines[0].quantity"]
    program = await shop.run("call", "inventory/ReserveStock", lines, "--json")
    told = json.loads(program.errors)
    assert (told["code"], told["exitCode"], told["violations"][0]["rule"]) == ("INVALID_ARGUMENT", 2, "string.uuid")
    assert len(told["traceId"]) == 32


@pytest.mark.parametrize(
    ("method", "request_", "code", "said"),
    [
        ("order/GetOrder", {"orderId": UNKNOWN}, 5, "NOT_FOUND (NOT_FOUND): order"),
        ("order/RetrySaga", None, 6, "FAILED_PRECONDITION (WRONG_STATE): the saga of order"),
        ("inventory/GetStok", {}, 5, "Did you mean GetStock?"),
        ("inventry/GetStock", {}, 5, "There is no service 'inventry'; there are order, payment, inventory"),
        ("inventory", {}, 5, "There is no service 'inventory'"),
        ("order/shop.nothing.v1.Nothing/Do", {}, 5, "The order service offers no shop.nothing.v1.Nothing"),
        ("inventory/GetStock", {"skuu": "x"}, 2, 'has no field named "skuu"'),
    ],
)
async def test_what_goes_wrong_is_said(
    shop: Commands, method: str, request_: dict[str, str] | None, code: int, said: str
) -> None:
    """The service, the method, the request, or the order's state."""
    request = request_ if request_ is not None else {"orderId": (await decided(shop))["orderId"]}
    refused = await shop.run("call", method, json.dumps(request))
    assert (refused.code, refused.out, said in refused.errors) == (code, "", True), refused


async def test_a_request_that_is_no_json_is_said_to_be_none(shop: Commands) -> None:
    refused = await shop.run("call", "inventory/GetStock", "{")
    assert (refused.code, "This is no GetStockRequest" in refused.errors) == (2, True)
    assert "./shop call inventory/GetStock --describe" in refused.errors


async def test_a_service_that_does_not_answer_is_named(shop: Commands, system: System) -> None:
    """Within the deadline: exit code 4."""
    async with without(system, "payment", "freeze"):
        said = await shop.run("call", "payment/GetPayment", json.dumps({"orderId": UNKNOWN}), "--timeout", "0.5")
    assert (said.code, "The payment service does not answer (DEADLINE_EXCEEDED)" in said.errors) == (4, True)


async def test_a_method_describes_itself(shop: Commands) -> None:
    """What it takes and answers, whether it changes something, and a call to copy."""
    said = await shop.run("call", "inventory/ReserveStock", "--describe")
    assert "rpc ReserveStock(shop.inventory.v1.ReserveStockRequest) returns (shop.inventory.v1.Reservation)" in said.out
    assert "  repeated shop.inventory.v1.ReservationLine lines = 2;" in said.out
    assert "  HELD = 1;" in said.out
    command = """./shop call inventory/ReserveStock '{"orderId": "", "lines": [{"sku": "", "quantity": 0}]}'"""
    assert said.out.splitlines()[-1] == command
    told = (await shop.run("call", "order/WatchOrder", "--describe", "--json")).json
    assert (told["changesNothing"], told["stream"]) == (True, True)
