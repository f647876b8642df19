"""How much of a trace is there is said in a sentence, and each reason for what is missing has its own."""

import json
from typing import Any

import pytest
from playwright.async_api import Browser

from catalogue import HEARD_BY
from explorer.tests.site import ORIGIN, SETTINGS, recorded, site, spans_of, without

Json = dict[str, Any]

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PLACED = "2026-03-14T09:26:53.000Z"
PLACED_MS = 1773480413000
EVENTS = ("order.v1.OrderPlaced", "inventory.v1.StockReserved", "payment.v1.PaymentCharged", "order.v1.OrderConfirmed")
ENTRIES = [{"event": f"shop.{event}", "time": PLACED, "spanId": ""} for event in EVENTS]

_STATES = """async (cases) => {
    const { readSpans } = await import("/explorer/trace.js");
    const { traceState } = await import("/explorer/state.js");
    return cases.map(({ answer, ...seen }) => traceState({ ...seen, spans: answer ? readSpans(answer) : [] }));
}"""


def seen(
    answer: Json | None = None,
    *,
    style: str = "parent",
    problem: str = "",
    age_seconds: float = 60,
    status: str = "CONFIRMED",
    **traces: Any,
) -> Json:
    return {
        "answer": answer,
        "order": {"createTime": PLACED, "status": status},
        "entries": ENTRIES,
        "problem": problem,
        "now": PLACED_MS + age_seconds * 1000,
        "settings": {"heardBy": HEARD_BY, "traces": {**SETTINGS["traces"], "async": style, **traces}},
    }


def lacking(name: str) -> Json:
    return without(recorded("confirmed"), lambda span: span["name"].startswith(name))


def _linked() -> Json:
    """As it is where each message begins a trace of its own: what a consumer does with it is there too."""
    answer = recorded("confirmed")
    gone = {span["spanId"] for _, span in spans_of(answer) if span["name"].startswith("process ")}
    return without(answer, lambda span: span["spanId"] in gone or span.get("parentSpanId") in gone)


# By the state's name: what is seen, and what its sentence has to say.
STATES: dict[str, tuple[Json, str]] = {
    "whole": (seen(recorded("confirmed")), "is complete"),
    "growing": (seen(recorded("confirmed"), status="PENDING"), "still on its way"),
    "arriving": (
        seen(lacking("process order.events"), age_seconds=1),
        "Still arriving: OrderConfirmed is not yet handled by inventory.shipping",
    ),
    "partial": (seen(lacking("send inventory.events")), "Incomplete: StockReserved is not yet sent"),
    "linked": (seen(_linked(), style="link"), "TRACE_ASYNC=link"),
    "none-yet": (seen(age_seconds=1), "has not come yet"),
    "forgotten": (seen(problem="TRACE_NOT_THERE"), "not in the store any more"),
    "undecided": (seen(problem="TRACE_NOT_THERE", age_seconds=30, store="tail-sampling"), "in about 60 s"),
    "not-kept": (seen(problem="TRACE_NOT_THERE", age_seconds=300, store="tail-sampling"), "did not keep"),
    "not-sampled": (seen(problem="TRACE_NOT_SAMPLED", sampleRatio=0.1), "10 % of all orders"),
    "off": (seen(problem="TRACES_NOT_EXPORTED"), "switched off"),
    "away": (seen(problem="TRACE_STORE_AWAY"), "does not answer"),
    "too-large": (seen(problem="TRACE_TOO_LARGE"), "too large"),
}


async def states(browser: Browser, cases: list[Json]) -> list[Json]:
    async with site(browser, {}) as page:
        await page.goto(f"{ORIGIN}/")
        return await page.evaluate(_STATES, cases)


async def test_each_state_of_a_trace_has_its_own_sentence(browser: Browser) -> None:
    """Complete, still arriving, not sampled, judged later, forgotten, store away: nobody has to guess."""
    said = await states(browser, [case for case, _ in STATES.values()])
    assert [state["name"] for state in said] == list(STATES)
    assert len({state["sentence"] for state in said}) == len(STATES)
    for state, (_, words) in zip(said, STATES.values(), strict=True):
        assert words in state["sentence"], state


async def test_a_trace_is_complete_when_each_event_was_written_sent_and_handled(browser: Browser) -> None:
    """Without any one of the spans that say so, or without a parent, it is not."""
    names = [
        *("create order.events OrderPlaced", "send order.events OrderPlaced", "create inventory.events"),
        *("send inventory.events", "process inventory.events", "process payment.events", "send payment.events"),
        *("create order.events OrderConfirmed", "send order.events OrderConfirmed", "process order.events"),
        *("saga reserve_stock", "POST /v1/orders", "charge card"),
    ]
    said = await states(browser, [seen(lacking(name), age_seconds=1) for name in names])
    assert {name: state["name"] for name, state in zip(names, said, strict=True)} == dict.fromkeys(names, "arriving")


async def test_a_send_that_failed_is_no_send(browser: Browser) -> None:
    """What Kafka refused lies in the outbox still."""
    answer = json.loads(json.dumps(recorded("confirmed")))
    for resource in answer["result"]["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                if span["name"] == "send payment.events PaymentCharged":
                    span["status"] = {"code": 2, "message": "no broker"}
    [state] = await states(browser, [seen(answer, age_seconds=1)])
    assert (state["name"], state["isWhole"]) == ("arriving", False)
    assert "PaymentCharged is not yet sent" in state["sentence"]
