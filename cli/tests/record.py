"""The orders of four scenarios, whose traces the tests change: how each is played, and how it is recorded anew.

python -m cli.tests.record      plays them on an embedded system of its own and writes cli/tests/recorded/NAME.json
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from cli.rest import Rest
from cli.traces import is_whole
from infra.local.ports import Ports
from infra.local.spans import Span, trace_spans
from infra.local.system import System as Embedded
from infra.system import System

Json = dict[str, Any]
Told = tuple[tuple[str, str], ...]

FOLDER = Path(__file__).with_name("recorded")
ORDER, CANCEL = "the order", "the customer's cancel"
CARDS = {
    "confirmed": "tok_visa",
    "declined-card": "tok_declined",
    "flaky-card": "tok_flaky",
    "cancel-confirmed": "tok_visa",
}
# An order whose messages shared statements with those of others; otherwise it is like the confirmed one.
CROWD, CROWD_ORDERS, SHARED = "crowd", 12, "INSERT command_outbox"
SECONDS_MAX = 30.0
POLL_SECONDS = 0.1

# The last span of each process, for each exports its spans in the order of their ends.
CHARGED: Told = (
    ("order", "send order.events OrderConfirmed"),
    ("payment", "send payment.events PaymentCharged"),
    ("inventory", "process order.events OrderConfirmed"),
    ("card-network", "POST /charges"),
)
DECLINED: Told = (
    ("order", "send order.events OrderRejected"),
    ("payment", "send payment.events PaymentDeclined"),
    ("inventory", "send inventory.events StockReleased"),
    ("card-network", "POST /charges"),
)
GAVE_BACK: Told = (
    ("order", "saga heard PaymentRefunded"),
    ("order", "saga heard StockReturned"),
    ("payment", "send payment.events PaymentRefunded"),
    ("inventory", "send inventory.events StockReturned"),
    ("card-network", "POST /charges/{key}/void"),
)
CANCELLED: Told = (
    ("order", "shop.order.v1.OrderService/CancelOrder"),
    ("gateway", "POST /v1/orders/{order_id}:cancel"),
)
TOLD = {"confirmed": CHARGED, "declined-card": DECLINED, "flaky-card": CHARGED}
# What no skeleton reads, and would make a recording three times as long.
_LEFT_OUT = ("code.", "db.query.text", "db.operation", "url.", "server.", "client.", "network.", "user_agent.", "asgi.")


class Store:
    """The query API of a system's trace store, asked for answers as they are."""

    def __init__(self, url: str, client: aiohttp.ClientSession) -> None:
        self._url, self._client = url, client

    async def until(self, trace_id: str, is_told: Callable[[Sequence[Span]], bool]) -> Json:
        """The answer about a trace, once it has told everything."""
        ends_at = time.monotonic() + SECONDS_MAX
        while True:
            async with self._client.get(f"{self._url}/api/v3/traces/{trace_id}", params={"raw_traces": "true"}) as got:
                if got.status == 200 and is_told(list(trace_spans(answer := await got.json(content_type=None)))):
                    return answer
            assert time.monotonic() < ends_at, f"trace {trace_id} is not whole after {SECONDS_MAX} s"
            await asyncio.sleep(POLL_SECONDS)

    async def whole(self, trace_id: str, told: Told) -> Json:
        """The answer about a trace, once it has those spans and every parent."""
        return await self.until(trace_id, lambda spans: is_whole(spans, told))


async def played(system: System, name: str) -> dict[str, Json]:
    """Play one of the orders; the trace store's answers about its traces, by title."""
    async with Rest(system.gateway_url) as rest, aiohttp.ClientSession() as client:
        store = Store(system.traces_url, client)
        order, trace_id = await placed(rest, CARDS[name])
        if name in TOLD:
            return {ORDER: await store.whole(trace_id, TOLD[name])}
        # A cancel that comes sooner finds goods to release, not to take back.
        await store.whole(trace_id, CHARGED)
        await rest.post(f"/v1/orders/{order['orderId']}:cancel", {})
        told = await store.whole(trace_id, (*CHARGED, *GAVE_BACK))
        request = next(
            link.trace_id for span in trace_spans(told) if span.name == "cancel confirmed order" for link in span.links
        )
        return {ORDER: told, CANCEL: await store.whole(request, CANCELLED)}


async def crowd(system: System) -> list[dict[str, Json]]:
    """The traces of orders that were placed at once, among them one whose command shared its statement."""
    async with Rest(system.gateway_url) as rest, aiohttp.ClientSession() as client:
        store = Store(system.traces_url, client)
        while True:
            orders = await asyncio.gather(*(placed(rest, customer=f"crowd-{n}") for n in range(CROWD_ORDERS)))
            answers = [{ORDER: await store.whole(trace_id, CHARGED)} for _, trace_id in orders]
            if any(map(is_shared, answers)):
                return answers


def is_shared(answers: dict[str, Json]) -> bool:
    """Whether the order's command was written together with another's."""
    statements = (span.attributes.get("shop.batch.statements", "") for span in trace_spans(answers[ORDER]))
    return any(SHARED in each for each in statements)


async def placed(rest: Rest, card_token: str = "tok_visa", customer: str = "recorded") -> tuple[Json, str]:
    """The answer to a POST, and the id of its trace."""
    lines = [{"sku": "espresso-beans", "quantity": 2}]
    return await rest.post("/v1/orders", {"customerId": customer, "cardToken": card_token, "lines": lines})


def written(answers: dict[str, Json]) -> str:
    """A recording, a line a span, by title and service."""
    return _json_object({title: _answer(answer) for title, answer in answers.items()})


def _answer(answer: Json) -> str:
    services = ",\n".join(map(_service, answer["result"]["resourceSpans"]))
    return f'{{"result": {{"resourceSpans": [\n{services}\n]}}}}'


def _service(resource: Json) -> str:
    attributes = [each for each in resource["resource"]["attributes"] if each["key"] == "service.name"]
    spans = [json.dumps(_slim(span)) for scope in resource["scopeSpans"] for span in scope["spans"]]
    lines = ",\n".join(spans)
    return f'{{"resource": {{"attributes": {json.dumps(attributes)}}}, "scopeSpans": [{{"spans": [\n{lines}\n]}}]}}'


def _slim(span: Json) -> Json:
    kept = [each for each in span.get("attributes", ()) if not each["key"].startswith(_LEFT_OUT)]
    return {key: value for key, value in span.items() if key not in ("flags", "attributes")} | {"attributes": kept}


def _json_object(members: dict[str, str]) -> str:
    lines = ",\n".join(f"{json.dumps(name)}: {text}" for name, text in members.items())
    return f"{{\n{lines}\n}}\n"


async def main() -> None:
    """Record all of them, one after the other, so that each is applied alone."""
    async with Embedded(ports=Ports.free()) as system:
        for name in CARDS:
            keep(name, await played(system, name))
        keep(CROWD, next(filter(is_shared, await crowd(system))))


def keep(name: str, answers: dict[str, Json]) -> None:
    path = FOLDER / f"{name}.json"
    path.write_text(written(answers))
    print(path)  # noqa: T201 - the answer of a command


if __name__ == "__main__":
    asyncio.run(main())
