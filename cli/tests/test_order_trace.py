"""`shop order trace`: the tree of an order, and those of what was asked for later, once or as they grow."""

from uuid import uuid4

import pytest

from cli.tests.commands import Commands, ended, left, line
from cli.tests.orders import COPIED, decided, plain

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def whole(shop: Commands, order_id: str) -> None:
    """Returns once the order's traces are told."""
    assert (await shop.run("order", "trace", order_id, "--follow", "--json")).code == 0


async def test_the_tree_says_who_did_what_when_and_how_long_it_waited(shop: Commands) -> None:
    """A line for each span, whole in a file, and the two waits: in the outbox, and on the broker, which is a mock."""
    order = await decided(shop)
    await whole(shop, order["orderId"])
    said = await shop.run("order", "trace", order["orderId"])
    title, address, heading, root, *lines = said.out.splitlines()
    assert (title, address) == (f"Trace of order {order['orderId']}", order["tracePage"])
    assert heading.split() == ["start", "ms", "took", "ms", "waited", "ms", "in", "service", "span"]
    assert root.endswith("gateway       POST /v1/orders")
    waits = {"outbox": "send inventory.events StockReserved", "mock broker": "process inventory.events StockReserved"}
    for wait, name in waits.items():
        [found] = [each for each in lines if each.endswith(f" {name}")]
        assert f" {wait} " in found
    assert [each for each in lines if each.startswith("Waited in all: ")] != []


async def test_a_program_gets_the_spans(shop: Commands) -> None:
    order = await decided(shop)
    await whole(shop, order["orderId"])
    [told] = (await shop.run("order", "trace", order["orderId"], "--json")).json
    assert (told["traceId"], told["page"], told["isWhole"]) == (order["traceId"], order["tracePage"], True)
    by_id = {span["spanId"]: span for span in told["spans"]}
    [heard] = [span for span in told["spans"] if span["name"] == "saga heard StockReserved"]
    assert by_id[heard["parentSpanId"]]["name"] == "shop.order.v1.OrderService/PlaceOrder"


async def test_in_a_narrow_terminal_each_span_is_a_line(shop: Commands) -> None:
    """Cut with an ellipsis, never wrapped; what leads somewhere is whole."""
    order = await decided(shop)
    await whole(shop, order["orderId"])
    code, text = await shop.in_terminal(60, "order", "trace", order["orderId"])
    lines = plain(text).splitlines()
    assert (code, lines[1]) == (0, order["tracePage"])
    spans = [each for each in lines if "├" in each or "└" in each]
    [told] = (await shop.run("order", "trace", order["orderId"], "--json")).json
    assert len(spans) == len(told["spans"]) - 1
    assert all(len(each) <= 60 for each in spans)
    assert any(each.endswith("…") for each in spans)
    assert any("└process PaymentCharg" in each for each in spans)
    _, text = await shop.in_terminal(60, "order", "trace", order["orderId"], "--show", "links")
    leads = [each for each in plain(text).splitlines() if "link to relay outbox" in each]
    assert leads
    assert all(COPIED.search(each) for each in leads)


async def test_details_stand_below_their_span(shop: Commands) -> None:
    """Links by the names of what they lead to; a kind that nobody knows is a mistake in the command line."""
    order = await decided(shop)
    await whole(shop, order["orderId"])
    said = await shop.run("order", "trace", order["orderId"], "--show", "links,attributes")
    assert "link to process inventory.events StockReserved (order)" in said.out
    assert f"shop.order.id = {order['orderId']}" in said.out
    wrong = await shop.run("order", "trace", order["orderId"], "--show", "everything")
    assert (wrong.code, "everything is none of links, attributes, events" in wrong.errors) == (2, True)


async def test_what_was_asked_for_later_is_drawn_too(shop: Commands) -> None:
    """A repeated POST and a cancel have traces of their own; each is titled, and has its address."""
    key = str(uuid4())
    order = await decided(shop, "--key", key)
    assert (await shop.run("order", "place", "--key", key)).code == 0
    assert (await shop.run("order", "cancel", order["orderId"])).code == 0
    said = await shop.run("order", "trace", order["orderId"], "--follow")
    titles = [each for each in said.out.splitlines() if each.startswith("Trace of ")]
    assert titles == [f"Trace of order {order['orderId']}", "Trace of the repeated POST", "Trace of the cancel"]
    assert len(set(COPIED.findall(said.out))) == 1 + 3
    assert "saga heard PaymentRefunded" in said.out
    assert "POST /v1/orders/{order_id}:cancel" in said.out


async def test_a_trace_is_followed_until_it_is_whole(shop: Commands) -> None:
    """From the moment of the POST, a span a line as it comes; it ends by itself, with the last one."""
    order = (await shop.run("order", "place", "--card", "tok_slow", "--json")).json
    following = await shop.start("order", "trace", order["orderId"], "--follow", "--json")
    first = await line(following)
    assert first["traceId"] == order["traceId"]
    said = await ended(following)
    spans = [first, *said.objects]
    assert said.code == 0
    assert len({span["spanId"] for span in spans}) == len(spans)
    assert {span["parentSpanId"] for span in spans} - {span["spanId"] for span in spans} == {""}
    assert "process order.events OrderConfirmed" in {span["name"] for span in spans}


async def test_a_terminal_sees_it_grow_and_keeps_the_whole(shop: Commands) -> None:
    """Drawn again whenever it has grown; in the end once more, to stay."""
    order = (await shop.run("order", "place", "--json")).json
    code, text = await shop.in_terminal(100, "order", "trace", order["orderId"], "--follow")
    assert code == 0
    assert " spans so far" in text
    kept = plain(text).rpartition("Trace of order")[2]
    assert "process OrderConfirmed" in kept
    assert "Waited in all" in kept


async def test_a_trace_that_has_not_told_everything_is_said_to_be(shop: Commands) -> None:
    """First it is not there at all, then a part of it; who does not want to wait for it is told how to."""
    order = (await shop.run("order", "place", "--card", "tok_slow", "--json")).json
    asked = [await shop.run("order", "trace", order["orderId"])]
    while asked[-1].code == 5 and len(asked) < 20:
        assert "is not in the trace store" in asked[-1].errors
        asked.append(await shop.run("order", "trace", order["orderId"]))
    assert (asked[-1].code, "--follow waits for it" in asked[-1].errors) == (0, True)
    await whole(shop, order["orderId"])
    assert (await shop.run("order", "trace", order["orderId"])).errors == ""


async def test_a_reader_who_leaves_ends_it(shop: Commands) -> None:
    """As `| head -1` does: the exit code of a closed pipe, and not a word."""
    order = (await shop.run("order", "place", "--card", "tok_slow", "--json")).json
    following = await shop.start("order", "trace", order["orderId"], "--follow", "--json")
    await line(following)
    assert await left(following) == (141, "")
