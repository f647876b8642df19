"""The diagram shows what a trace says, and nothing else."""

import json
from collections import Counter
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from explorer.tests.site import ORIGIN, recorded, site, spans_of, without

Json = dict[str, Any]

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

TRACE = "0af7651916cd43dd8448eb211c80319c"

# The diagram's model of several answers at once: drawing each on a page would take minutes.
_TELL = """async (answers) => {
    const [{ readSpans }, { tell }] = await Promise.all([import("/explorer/trace.js"), import("/explorer/story.js")]);
    return answers.map((answer) => {
        const { lanes, rows, waits } = tell(readSpans(answer));
        const shown = rows.map(({ kind, from, to, text }) => ({ kind, text, isArrow: from !== undefined }));
        return { lanes, rows: shown, waits: waits.map(({ place, label }) => ({ place, label })) };
    });
}"""


async def told(page: Page, answers: list[Json]) -> list[Json]:
    await page.goto(f"{ORIGIN}/")
    return await page.evaluate(_TELL, answers)


async def drawn(browser: Browser, answer: Json) -> tuple[list[str], list[str]]:
    """The lanes, and each row as it is read out, of the page that shows this trace."""
    async with site(browser, {f"/explorer/traces/{TRACE}": answer}) as page:
        await page.goto(f"{ORIGIN}/#/traces/{TRACE}")
        await page.wait_for_selector(".diagram .rows > li")
        lanes = await page.locator(".diagram .lane").all_inner_texts()
        return lanes, await page.locator(".diagram .rows > li .what .sr-only").all_inner_texts()


def arrows(story: Json) -> Counter[str]:
    return Counter(row["text"] for row in story["rows"] if row["isArrow"])


@pytest.mark.parametrize("name", ["confirmed", "declined-card", "flaky-card", "cancel-confirmed"])
async def test_a_span_that_is_gone_takes_its_arrow_with_it(browser: Browser, name: str) -> None:
    """Of every span of the trace in turn: no arrow stays that only it could say, and none is invented instead."""
    answer = recorded(name)
    spans = [span for _, span in spans_of(answer)]
    changed = [without(answer, lambda span, gone=gone: span["spanId"] == gone["spanId"]) for gone in spans]
    async with site(browser, {}) as page:
        whole, *fewer = await told(page, [answer, *changed])
    for span, story in zip(spans, fewer, strict=True):
        missing, invented = arrows(whole) - arrows(story), arrows(story) - arrows(whole)
        assert not invented, (span["name"], invented)
        expected = _arrows_of(span, spans)
        assert missing.total() == expected, (span["name"], missing)


def _arrows_of(span: Json, spans: list[Json]) -> int:
    """How many arrows a span is an end of: a call and its answer, or one message."""
    has = {pair["key"] for pair in span["attributes"]}
    operation = next(
        (p["value"]["stringValue"] for p in span["attributes"] if p["key"] == "messaging.operation.type"), ""
    )
    if operation in ("send", "process"):
        return 1
    children = [each for each in spans if each.get("parentSpanId") == span["spanId"]]
    parent = next((each for each in spans if each["spanId"] == span.get("parentSpanId")), None)
    if span["kind"] == 3 and "db.system.name" not in has:
        return 2 if any(child["kind"] == 2 for child in children) else 0
    if span["kind"] == 2:
        return 2 if parent is None or parent["kind"] == 3 else 0
    return 0


async def test_the_page_draws_what_the_model_says(browser: Browser) -> None:
    """Lanes in the order of their appearance, Kafka last; a row for all that happened, and none without its span."""
    answer = recorded("declined-card")
    lanes, rows = await drawn(browser, answer)
    assert lanes == ["client", "gateway", "order", "inventory", "payment", "card-network", "Kafka"]
    released = "order asks, to undo, inventory: ReleaseStock; 1.4 ms in the command outbox"
    assert released in rows
    _, fewer = await drawn(browser, without(answer, lambda span: span["name"] == "saga release_stock"))
    assert [row for row in fewer if "to undo" in row] == []


async def test_a_service_and_a_step_that_nobody_knows_are_drawn(browser: Browser) -> None:
    """A new lane, its arrows, and the step's name, from a trace in which somebody wraps the goods."""
    answer = _wrapped(recorded("confirmed"))
    lanes, rows = await drawn(browser, answer)
    assert lanes == ["client", "gateway", "order", "inventory", "payment", "card-network", "gift-wrapping", "Kafka"]
    assert "order asks gift-wrapping: WrapGoods" in rows
    assert "gift-wrapping sends GoodsWrapped to Kafka; 3.0 ms in the outbox" in rows
    assert "order hears GoodsWrapped from Kafka as order.saga; 4.0 ms on Kafka" in rows
    assert "order: saga heard GoodsWrapped; WRAPPING_GOODS → CONFIRMED" in rows


def _wrapped(answer: Json) -> Json:
    """The trace of an order, with one more participant behind its end."""
    copy: Json = json.loads(json.dumps(answer))
    spans = spans_of(copy)
    end = max(int(span["endTimeUnixNano"]) for _, span in spans)
    order = next(span for service, span in spans if service == "order" and span["kind"] == 2)
    made = 0

    def span(name: str, kind: int, parent: str, **attributes: Any) -> Json:
        nonlocal made
        made += 1
        return {
            "traceId": order["traceId"],
            "spanId": f"{made:016x}",
            "parentSpanId": parent,
            "name": name,
            "kind": kind,
            "startTimeUnixNano": str(end + made * 1_000_000),
            "endTimeUnixNano": str(end + made * 1_000_000 + 500_000),
            "attributes": [
                {"key": key.replace("__", "."), "value": {"stringValue": str(value)}}
                for key, value in attributes.items()
            ],
        }

    method = "shop.wrapping.v1.WrappingService/WrapGoods"
    event = {
        "messaging__system": "kafka",
        "messaging__message__id": "m",
        "shop__event__type": "shop.wrapping.v1.GoodsWrapped",
    }
    call = span(
        "saga wrap_goods", 3, order["spanId"], rpc__method=method, shop__saga__step="wrap_goods", rpc__status_code="OK"
    )
    serve = span(method, 2, call["spanId"], rpc__method=method, rpc__status_code="OK")
    create = span(
        "create wrapping.events GoodsWrapped", 4, serve["spanId"], messaging__operation__type="create", **event
    )
    send = span(
        "send wrapping.events GoodsWrapped",
        3,
        create["spanId"],
        messaging__operation__type="send",
        shop__outbox__age_ms=3.0,
        **event,
    )
    process = span(
        "process wrapping.events GoodsWrapped",
        5,
        create["spanId"],
        messaging__operation__type="process",
        messaging__consumer__group__name="order.saga",
        shop__kafka__age_ms=4.0,
        **event,
    )
    heard = span(
        "saga heard GoodsWrapped",
        1,
        order["spanId"],
        shop__saga__step_before="WRAPPING_GOODS",
        shop__saga__step="CONFIRMED",
    )
    for service, added in (("order", [call, process, heard]), ("gift-wrapping", [serve, create, send])):
        name = {"key": "service.name", "value": {"stringValue": service}}
        copy["result"]["resourceSpans"].append({"resource": {"attributes": [name]}, "scopeSpans": [{"spans": added}]})
    return copy


async def test_both_waits_of_a_message_are_drawn(browser: Browser) -> None:
    """From the promise until Kafka had it, and from then until the consumer began."""
    async with site(browser, {}) as page:
        [story] = await told(page, [recorded("declined-card")])
    waits = [(wait["place"], wait["label"]) for wait in story["waits"]]
    assert ("outbox", "StockReserved: 2.9 ms in the outbox") in waits
    assert ("broker", "StockReserved: 31 ms on Kafka") in waits
    events = {"OrderPlaced", "StockReserved", "PaymentDeclined", "StockReleased", "OrderRejected"}
    assert {label.partition(":")[0] for place, label in waits if place == "outbox"} == events
