"""The explorer in a real browser, and what its six answers have to say by the database, the timeline and the trace."""

import json
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx
from playwright.async_api import Browser, ConsoleMessage, Page, Route, TimeoutError

from e2e.plays import command_line
from infra.local.parts import ROOT
from infra.local.spans import Span, trace_spans
from infra.system import System

Json = dict[str, Any]

# Rounding, and the moments between a commit, its mark in the table, and the span's end.
SLACK_MS = 25.0
NOTHING_UNDONE = "Nobody undid anything"
UNDOING = ("PaymentRefunded", "PaymentVoided", "StockReleased", "StockReturned")
SERVICES = ("order", "payment", "inventory")


class Explorer:
    """One open page. Times on it are UTC, so that they can be compared."""

    def __init__(self, page: Page, gateway_url: str) -> None:
        self.page, self.gateway_url = page, gateway_url
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._said)

    def _said(self, said: ConsoleMessage) -> None:
        # Containers that start or stop change this machine's networks, which a browser takes for a change of its own.
        if said.type in ("error", "warning") and "ERR_NETWORK_CHANGED" not in said.text:
            self.errors.append(said.text)

    async def open(self, order_id: str, state: str = "whole") -> None:
        """Returns once the page says that of the order's trace."""
        await self.page.goto(f"{self.gateway_url}/#/orders/{order_id}")
        try:
            await self.page.wait_for_selector(f'[data-trace-state="{state}"]', timeout=20_000)
        except TimeoutError as error:
            said = await self.page.locator("[data-trace-state]").all_inner_texts()
            raise AssertionError(f"the trace is not {state} within 20 s; the page says {said}") from error

    async def answers(self) -> dict[str, list[str]]:
        """What stands below each of the six questions, a text for each line."""
        return await self.page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll(".answer-box")].map((box) =>
                [box.id.replace("answer-", ""), [...box.querySelectorAll("dd")].map((line) =>
                    [...line.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data)
                        .join("").trim())]))"""
        )

    async def rows(self) -> list[str]:
        """The diagram's rows, as they are read out."""
        return await self.page.locator(".diagram .rows > li .sr-only").all_inner_texts()

    async def changed(self, path: str | re.Pattern[str], change: Callable[[Any], None]) -> None:
        """From now on the page is told something else on this path than the truth."""

        async def fulfil(route: Route) -> None:
            answer = await route.fetch()
            told = await answer.json()
            change(told)
            await route.fulfill(response=answer, body=json.dumps(told))

        await self.page.route(path, fulfil)


@asynccontextmanager
async def explorer(browser: Browser, system: System, **options: Any) -> AsyncGenerator[Explorer]:
    """A page of its own, with nothing remembered."""
    context = await browser.new_context(timezone_id="UTC", locale="en-GB", reduced_motion="reduce", **options)
    try:
        yield Explorer(await context.new_page(), system.gateway_url)
    finally:
        await context.close()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of an order without the page.

    rows: of its own tables; `inbox` and `outbox` are those of all three services.
    """

    order: Json
    entries: list[Json]
    payment: Json
    reservation: Json
    spans: list[Span]
    rows: Mapping[str, list[Json]] = field(default_factory=dict)

    @property
    def events(self) -> list[str]:
        return [entry["event"].rpartition(".")[2] for entry in self.entries]


async def facts(system: System, found: Mapping[str, str], order_id: str) -> Facts:
    """From the API, the trace store, and the services' databases."""
    async with httpx.AsyncClient(base_url=system.gateway_url, timeout=15, trust_env=False) as client:
        order = await _get(client, f"/v1/orders/{order_id}")
        entries = (await _get(client, f"/v1/orders/{order_id}/timeline"))["entries"]
        payment = await _get(client, f"/v1/payments/{order_id}")
        reservation = await _get(client, f"/v1/reservations/{order_id}")
    ids = dict.fromkeys([order["traceId"], *(entry["traceId"] for entry in entries)])
    known = await facts_of_traces(system, found, [*ids], order_id)
    return replace(known, order=order, entries=entries, payment=payment, reservation=reservation)


async def facts_of_traces(system: System, found: Mapping[str, str], trace_ids: list[str], order_id: str = "") -> Facts:
    """Of traces alone: nobody may have placed the order that they are about, which is the one of the first span."""
    spans: list[Span] = []
    async with httpx.AsyncClient(base_url=system.traces_url, timeout=15, trust_env=False) as client:
        for trace_id in trace_ids:
            spans += trace_spans(await _get(client, f"/api/v3/traces/{trace_id}?raw_traces=true"))
    spans.sort(key=lambda span: span.start)
    messages = [span.attributes.get("messaging.message.id", "") for span in spans]
    rows = await _rows(found, order_id or spans[0].attributes["shop.order.id"], messages)
    return Facts(order={}, entries=[], payment={}, reservation={}, spans=spans, rows=rows)


async def _get(client: httpx.AsyncClient, path: str) -> Json:
    answer = await client.get(path)
    return answer.json() if answer.status_code == 200 else {}


async def _rows(found: Mapping[str, str], order_id: str, messages: list[str]) -> dict[str, list[Json]]:
    ids = ", ".join(f"'{message}'" for message in sorted({*messages} - {""})) or "NULL"
    # The ids are the shop's own.
    outbox = f"SELECT id, type, created_at, published_at FROM outbox WHERE subject = '{order_id}'"  # noqa: S608
    inbox = f"SELECT * FROM inbox WHERE message_id IN ({ids})"  # noqa: S608
    orders = f"SELECT created_at, status, reason FROM orders WHERE order_id = '{order_id}'"  # noqa: S608
    rows: dict[str, list[Json]] = {"outbox": [], "inbox": [], "orders": await query(found, "order", orders)}
    for service in SERVICES:
        rows["outbox"] += await query(found, service, outbox)
        rows["inbox"] += await query(found, service, inbox)
    return rows


async def query(found: Mapping[str, str], service: str, sql: str) -> list[Json]:
    """The rows of a service's own table, by `./shop psql`."""
    said = await command_line(found, "psql", service, "--json", "-c", sql)
    assert said.code == 0, said.errors
    return json.loads(said.out)


def check(answers: Mapping[str, list[str]], known: Facts) -> None:
    """Raises AssertionError where an answer is not what is known."""
    for question, checked in CHECKS.items():
        checked(answers[question], known)


def check_existed(lines: list[str], known: Facts) -> None:
    """From the commit of PlaceOrder on, which the row's own time and its span's end both bound."""
    place = next(span for span in known.spans if span.kind == "SERVER" and span.name.endswith("/PlaceOrder"))
    assert f"From {clock(place.end / 1e6)} on" in lines[0], (lines, clock(place.end / 1e6))
    created = datetime.fromisoformat(known.rows["orders"][0]["created_at"]).timestamp() * 1000
    assert created - SLACK_MS <= place.end / 1e6 <= created + 1000
    assert datetime.fromisoformat(known.entries[0]["time"]).timestamp() * 1000 <= place.end / 1e6 + SLACK_MS


def check_waiting(lines: list[str], known: Facts) -> None:
    """For nothing once the order is final and nothing of it is held or owed."""
    assert known.rows["orders"][0]["status"] == known.order["status"]
    since = next(entry["time"] for entry in known.entries if entry["status"] == known.order["status"])
    at = clock(datetime.fromisoformat(since).timestamp() * 1000)
    assert lines == [f"For nothing: it is {known.order['status']} since {at}."], lines
    if known.order["status"] != "CONFIRMED":
        assert known.payment.get("state") not in ("CHARGED", "CHARGING")
        assert known.reservation.get("state") not in ("HELD", "SHIPPED")


def check_undone(lines: list[str], known: Facts) -> None:
    """Each undoing event of the timeline is named once, with who did it and the order's reason."""
    undone = [event for event in known.events if event in UNDOING]
    if not undone:
        assert len(lines) == 1, lines
        assert lines[0].startswith(NOTHING_UNDONE), lines
        return
    assert sorted(event for event in undone if any(event in line for line in lines)) == sorted(undone), lines
    by_saga = any(span.attributes.get("shop.saga.direction") == "compensate" for span in known.spans)
    for line in lines:
        assert line.startswith("The saga (order)") == by_saga, lines
        assert f"because {known.rows['orders'][0]['reason']}" in line, lines
    assert (f"because {known.order['reason']}") in lines[0]


def check_twice(lines: list[str], known: Facts) -> None:
    """As many messages were applied as inboxes have rows; what came again is named."""
    deliveries = [span for span in known.spans if span.attributes.get("messaging.operation.type") == "process"]
    keys = [
        (span.attributes["messaging.message.id"], span.attributes["messaging.consumer.group.name"])
        for span in deliveries
    ]
    applied = {(row["message_id"], row["consumer_group"]) for row in known.rows["inbox"]}
    assert set(keys) <= applied
    again = [span for span in deliveries if span.attributes.get("shop.inbox.outcome") == "duplicate"]
    if not again:
        assert len(keys) == len(set(keys))
        plural = "delivery" if len(keys) == 1 else "deliveries"
        said = f"No: {len(keys)} {plural}, each applied once." if keys else "No message of it has been handled yet."
        assert lines == [said], lines
        return
    for span in again:
        event = span.attributes["shop.event.type"].rpartition(".")[2]
        assert any(line.startswith(f"No: {event} came to ") and "applied once" in line for line in lines), lines


def check_lay(lines: list[str], known: Facts) -> None:
    """Each event with its two waits: as the trace has them, and no longer than the tables' times allow."""
    rows = {row["id"]: row for row in known.rows["outbox"]}
    applied = {(row["message_id"], row["consumer_group"]): row for row in known.rows["inbox"]}
    created = [span for span in known.spans if span.kind == "PRODUCER"]
    assert len(lines) == len(created), lines
    if known.order:
        assert len(created) == len(rows), (len(created), len(rows))
    for span in created:
        message, event = span.attributes["messaging.message.id"], span.attributes["shop.event.type"].rpartition(".")[2]
        line = next(line for line in lines if line.startswith(f"{event}: "))
        told = [
            milliseconds(wait)
            for wait in re.findall(r"([\d.]+ (?:ms|s|min \d+ s))(?= (?:in the outbox|on Kafka))", line)
        ]
        sent = next(s for s in known.spans if s.parent_id == span.id and s.name.startswith("send ") and s.error is None)
        heard = [
            each
            for each in known.spans
            if each.attributes.get("messaging.message.id") == message
            and each.kind == "CONSUMER"
            and each.attributes.get("shop.inbox.outcome") != "duplicate"
        ]
        waits = [in_outbox(span, sent, heard)]
        waits += [float(each.attributes["shop.kafka.age_ms"]) for each in heard]
        assert len(told) == len(waits), line
        for said, wait in zip(told, waits, strict=True):
            assert abs(said - wait) <= rounding(wait), (line, waits)
        assert told[0] <= between(rows[message]["created_at"], rows[message]["published_at"]) + SLACK_MS, line
        for said, each in zip(told[1:], heard, strict=True):
            group = each.attributes["messaging.consumer.group.name"]
            assert f"on Kafka until {group}" in line
            whole = between(rows[message]["created_at"], applied[message, group]["received_at"])
            assert told[0] + said <= whole + SLACK_MS, (line, whole)


def in_outbox(created: Span, sent: Span, heard: list[Span]) -> float:
    """Milliseconds until Kafka had the copy that was heard: one whose acknowledgement is lost is sent again."""
    if heard and heard[0].attributes["messaging.kafka.offset"] != sent.attributes["messaging.kafka.offset"]:
        return (heard[0].start - created.start) / 1e6 - float(heard[0].attributes["shop.kafka.age_ms"])
    return float(sent.attributes["shop.outbox.age_ms"])


def check_line(lines: list[str], known: Facts) -> None:
    """A line of this project's source, in the function that is named, of the saga's latest turn."""
    turn = [span for span in known.spans if "shop.saga.step_before" in span.attributes][-1]
    path, number, function = re.match(r"(\S+?):(\d+), (\w+): ", lines[0]).groups()  # pyright: ignore[reportOptionalMemberAccess]
    assert (path, number) == (turn.attributes["code.file.path"], turn.attributes["code.line.number"])
    assert lines[0].endswith(f": {turn.name} ({turn.service}).")
    assert f"def {function}(" in "\n".join((ROOT / path).read_text().splitlines()[: int(number) + 1])


CHECKS: dict[str, Callable[[list[str], Facts], None]] = {
    "existed": check_existed,
    "waiting": check_waiting,
    "undone": check_undone,
    "twice": check_twice,
    "lay": check_lay,
    "line": check_line,
}


def clock(ms: float) -> str:
    """As the page shows a time in UTC; it cuts, and does not round."""
    return datetime.fromtimestamp(int(ms) / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]


def milliseconds(text: str) -> float:
    """Of a duration as the page shows it."""
    if minutes := re.fullmatch(r"(\d+) min (\d+) s", text):
        return 60_000.0 * int(minutes[1]) + 1000.0 * int(minutes[2])
    number, unit = text.split()
    return float(number) * (1 if unit == "ms" else 1000)


def rounding(ms: float) -> float:
    """By how much a duration of about this length may be rounded on the page, in milliseconds."""
    steps = ((9.95, 0.1), (999.5, 1.0), (9_995, 10.0), (99_950, 100.0))
    return 0.51 * next((step for end, step in steps if ms < end), 1000.0)


def between(begin: str, end: str) -> float:
    """Milliseconds from one of PostgreSQL's times to another."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds() * 1000
