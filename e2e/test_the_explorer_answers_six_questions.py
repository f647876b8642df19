"""The explorer's six answers about an order, as it reads them out, are what database, timeline and trace say."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

import scenarios
from e2e.conftest import Shop, embedded, eventually, on_containers
from e2e.explorer import (
    CHECKS,
    Explorer,
    Facts,
    check,
    check_lay,
    check_twice,
    explorer,
    facts,
    facts_of_traces,
    query,
)
from e2e.plays import PLAYED_THERE, Plays
from infra.system import System

Json = dict[str, Any]

pytestmark = [pytest.mark.browser]

# Of the other one nobody has placed an order.
WITH_ORDERS = [name for name in scenarios.NAMES if name != "undo-first"]


@pytest_asyncio.fixture(loop_scope="session")
async def page(system: System, browser: Browser) -> AsyncIterator[Explorer]:
    async with explorer(browser, system) as page:
        yield page
        assert not page.errors, page.errors


@embedded
@pytest.mark.parametrize("name", [name for name in WITH_ORDERS if not scenarios.load(name).containers_only])
async def test_the_answers_about_a_scenario_are_true(
    system: System, found: Mapping[str, str], plays: Plays, page: Explorer, name: str
) -> None:
    """Of its first and of its last order."""
    await answers_are_true(system, found, plays, page, name)


@on_containers
@pytest.mark.parametrize("name", [name for name in WITH_ORDERS if name in PLAYED_THERE])
async def test_they_are_true_on_real_servers(
    system: System, found: Mapping[str, str], plays: Plays, page: Explorer, name: str
) -> None:
    """The same, from Jaeger and PostgreSQL."""
    await answers_are_true(system, found, plays, page, name)


@embedded
async def test_the_answers_about_what_no_order_was_placed_for_are_true(
    system: System, found: Mapping[str, str], plays: Plays, page: Explorer
) -> None:
    """Its traces are found from the id that an operator made up; the two calls undid nothing, and nothing waits."""
    titles = (await plays.of("undo-first")).trace_ids
    for title, trace_id in titles.items():
        known = await facts_of_traces(system, found, [trace_id])
        await page.page.goto(f"{page.gateway_url}/#/orders/{known.spans[0].attributes['shop.order.id']}")
        await page.page.get_by_role("link", name=title.partition(",")[0]).click()
        await page.page.wait_for_url(f"**/#/traces/{trace_id}")
        await page.page.wait_for_selector('[data-trace-state="whole"]')
        answers = await page.answers()
        assert answers["existed"] == ["No order was placed in this trace."]
        assert answers["waiting"] == ["For nothing that a trace says."]
        assert answers["undone"] == ["Nobody undid anything."]
        check_twice(answers["twice"], known)
        check_lay(answers["lay"], known)
        work = [span for span in known.spans if span.kind in ("SERVER", "CONSUMER", "INTERNAL")][-1]
        assert answers["line"][0].startswith(f"{work.attributes['code.file.path']}:"), answers["line"]


async def answers_are_true(system: System, found: Mapping[str, str], plays: Plays, page: Explorer, name: str) -> None:
    orders = [each["order"] for each in (await plays.of(name)).told["orders"]]
    for order in {order["orderId"]: order for order in (orders[0], orders[-1])}:
        await page.open(order)
        check(await page.answers(), await facts(system, found, order))


@embedded
async def test_what_an_order_waits_for_is_said_while_it_waits(
    shop: Shop, found: Mapping[str, str], page: Explorer
) -> None:
    """The saga's step, the events that it waits for by the service's own table, and the row's deadline."""
    order_id = (await shop.place("tok_silent"))["orderId"]
    await shop.heard(order_id, "StockReserved")
    await page.open(order_id, "growing")

    async def said() -> str | None:
        answer = (await page.answers())["waiting"][0]
        return answer if "CHARGING_PAYMENT" in answer else None

    answer = await eventually(said, "the page says that the order waits for its payment")
    sql = f"SELECT step, deadline_at FROM sagas WHERE order_id = '{order_id}'"  # noqa: S608 - the id is the shop's own
    rows = await query(found, "order", sql)
    assert rows[0]["step"] == "CHARGING_PAYMENT"
    until = rows[0]["deadline_at"][11:23].ljust(12, "0")
    events = "PaymentCharged or PaymentDeclined or PaymentRefunded or PaymentVoided"
    assert answer == f"For {events}: the saga is at CHARGING_PAYMENT, until {until}."
    await shop.ended(order_id)


def _first(answer: Json, name: str) -> Json:
    """The first span of a name in the store's answer, with its attributes by key."""
    for resource in answer["result"]["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                if span["name"].startswith(name):
                    return span
    raise LookupError(name)


def _set(span: Json, key: str, value: str) -> None:
    next(pair for pair in span["attributes"] if pair["key"] == key)["value"] = {"stringValue": value}


def _later(answer: Json) -> None:
    for resource in answer["result"]["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                if span["name"].endswith("/PlaceOrder") and span["kind"] == 2:
                    span["endTimeUnixNano"] = str(int(span["endTimeUnixNano"]) + 2_000_000_000)


def _another_status(order: Json) -> None:
    order["status"] = "CONFIRMED"


def _another_reason(answer: Json) -> None:
    for resource in answer["result"]["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for pair in span["attributes"]:
                    if pair["key"] == "shop.saga.reason":
                        pair["value"] = {"stringValue": "OUT_OF_STOCK"}


def _applied_twice(answer: Json) -> None:
    for resource in answer["result"]["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in [span for span in scope["spans"] if span["name"].startswith("process ")][:1]:
                scope["spans"].append({**span, "spanId": "00000000000000aa"})


def _lay_longer(answer: Json) -> None:
    _set(_first(answer, "send "), "shop.outbox.age_ms", "4321.0")


def _another_line(answer: Json) -> None:
    _set(_first(answer, "saga heard StockReleased"), "code.line.number", "1")


# What is told wrongly to the page, by the question whose answer it spoils.
FAULTS: dict[str, tuple[str | re.Pattern[str], Callable[[Json], None]]] = {
    "existed": ("**/explorer/traces/*", _later),
    "waiting": (re.compile(r"/explorer/v1/orders/[0-9a-f-]{36}$"), _another_status),
    "undone": ("**/explorer/traces/*", _another_reason),
    "twice": ("**/explorer/traces/*", _applied_twice),
    "lay": ("**/explorer/traces/*", _lay_longer),
    "line": ("**/explorer/traces/*", _another_line),
}


@embedded
@pytest.mark.parametrize("question", CHECKS)
async def test_a_wrong_answer_would_be_noticed(
    system: System, found: Mapping[str, str], plays: Plays, page: Explorer, question: str
) -> None:
    """A planted fault for each question: its answer changes, and is not taken for true.

    A message that is handled twice has waited twice too; else the other answers stay true.
    """
    order_id = (await plays.of("declined-card")).told["orders"][0]["order"]["orderId"]
    path, change = FAULTS[question]
    await page.changed(path, change)
    await page.open(order_id)
    answers, known = await page.answers(), await facts(system, found, order_id)
    wrong = [asked for asked, checked in CHECKS.items() if is_wrong(checked, answers[asked], known)]
    assert set(wrong) - ({"lay"} if question == "twice" else set()) == {question}


def is_wrong(checked: Callable[[list[str], Facts], None], lines: list[str], known: Facts) -> bool:
    try:
        checked(lines, known)
    except AssertionError:
        return True
    return False
