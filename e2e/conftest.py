"""The running system, and what a customer, a card network and a reader of traces can see of it."""

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import pytest
import pytest_asyncio

from infra.at_rest import at_rest
from infra.bench.load import Load, Placed
from infra.containers.system import System as Containers
from infra.local.ports import Ports
from infra.local.system import System as Embedded
from infra.system import System

if TYPE_CHECKING:
    from e2e.plays import Plays
    from e2e.stories import Stories

T = TypeVar("T")
Json = dict[str, Any]

HERE = Path(__file__).parent
TIMED_OUT = ("RESERVATION_TIMED_OUT", "PAYMENT_TIMED_OUT")
SERVICES = ("gateway", "order", "payment", "inventory", "card-network")
FINAL = ("CONFIRMED", "REJECTED", "CANCELLED")
BEANS = "espresso-beans"
# Short enough for a test to outwait, long enough for a busy machine.
OVERRIDES = {
    "order": {
        "RESERVE_DEADLINE_SECONDS": "15",
        "CHARGE_DEADLINE_SECONDS": "10",
        "COMPENSATION_RETRY_SECONDS": "3",
        "PARK_AFTER_SECONDS": "9",
    },
    "payment": {"CARD_NETWORK_TIMEOUT_SECONDS": "4"},
    "card-network": {"SILENCE_SECONDS": "15", "SLOW_SECONDS": "3"},
}


async def eventually(look: Callable[[], Awaitable[T | None]], what: str, seconds: float = 40.0) -> T:
    """What `look` finds, as soon as it finds something true."""
    ends_at = time.monotonic() + seconds
    while True:
        if found := await look():
            return found
        assert time.monotonic() < ends_at, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)


@dataclass(frozen=True, eq=False)
class Span:
    """One span as the trace store tells it."""

    name: str
    service: str
    instance: str
    span_id: str
    parent_id: str
    kind: int
    status: int
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    start_ns: int
    end_ns: int


class Shop:
    """The shop from outside: REST, the card network's own books, the trace store."""

    def __init__(self, system: System, client: httpx.AsyncClient) -> None:
        self.system, self.client = system, client

    async def place(
        self, card_token: str = "tok_visa", sku: str = BEANS, quantity: int = 1, customer_id: str = "ada", key: str = ""
    ) -> Json:
        """Place an order; the answer is its 202."""
        body = {"customerId": customer_id, "cardToken": card_token, "lines": [{"sku": sku, "quantity": quantity}]}
        response = await self.client.post("/v1/orders", json=body, headers={"Idempotency-Key": key} if key else {})
        assert response.status_code == 202, response.text
        return response.json()

    async def get(self, path: str) -> Json:
        response = await self.client.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    async def order(self, order_id: str) -> Json:
        return await self.get(f"/v1/orders/{order_id}")

    async def cancel(self, order_id: str) -> Json:
        response = await self.client.post(f"/v1/orders/{order_id}:cancel", json={})
        assert response.status_code == 200, response.text
        return response.json()

    async def ended(self, order_id: str, seconds: float = 40.0) -> Json:
        """The order, once its saga has ended."""

        async def look() -> Json | None:
            order = await self.order(order_id)
            return order if order["status"] in FINAL else None

        return await eventually(look, f"order {order_id} ends", seconds)

    async def events(self, order_id: str) -> list[str]:
        """The short names of everything on the order's timeline."""
        timeline = await self.get(f"/v1/orders/{order_id}/timeline")
        return [entry["event"].rsplit(".", 1)[1] for entry in timeline["entries"]]

    async def heard(self, order_id: str, event: str, seconds: float = 40.0) -> list[str]:
        """The timeline, once the event stands on it."""

        async def look() -> list[str] | None:
            events = await self.events(order_id)
            return events if event in events else None

        return await eventually(look, f"{event} of order {order_id}", seconds)

    async def payment(self, order_id: str) -> Json:
        return await self.get(f"/v1/payments/{order_id}")

    async def at_rest(self) -> None:
        """Returns when nothing moves any more: what is compared with a later reading is read then."""
        await at_rest(self.system)

    async def stock(self, sku: str = BEANS) -> tuple[int, int]:
        """Available and held, from a shop at rest."""
        await self.at_rest()
        item = await self.get(f"/v1/stock/{sku}")
        return int(item["available"]), int(item["held"])

    async def taken_at_the_network(self, payment_id: str) -> int:
        """What the card network has taken for a payment and not given back, in minor units."""
        response = await self.client.get(f"{self.system.card_network_url}/charges/{payment_id}", timeout=30)
        if response.status_code == 404:
            return 0
        charge = response.json()
        return charge["amountMinor"] if charge["state"] == "CHARGED" else 0

    async def neither_dictated_nor_late(self, load: Load) -> list[Placed]:
        """The orders of a load that ended neither as their card dictates nor because a deadline passed.

        A part that is away for longer than a saga waits costs the order, never money or goods.
        """
        others = [order for order in load.accepted if order.outcome != order.expected]
        return [order for order in others if (await self.order(order.order_id)).get("reason") not in TIMED_OUT]

    async def trace(
        self, trace_id: str, *, until: str | Callable[[list[Span]], bool], seconds: float = 15.0
    ) -> list[Span]:
        """The spans of a trace, once one of that name is there (or `until` says so) and nothing came for a moment."""
        seen = -1

        async def look() -> list[Span] | None:
            nonlocal seen
            spans = await self.spans(trace_id)
            complete = until(spans) if callable(until) else any(span.name == until for span in spans)
            settled = len(spans) == seen and complete
            seen = len(spans)
            if not settled:
                await asyncio.sleep(0.5)
            return spans if settled else None

        return await eventually(look, f"trace {trace_id} is complete", seconds)

    async def spans(self, trace_id: str) -> list[Span]:
        """What the trace store has of a trace now."""
        # Raw: otherwise Jaeger's memory keeps its remarks on a trace that is incomplete yet (jaeger#787).
        url = f"{self.system.traces_url}/api/v3/traces/{trace_id}"
        response = await self.client.get(url, params={"raw_traces": "true"})
        return _spans(response.json()) if response.status_code == 200 else []

    async def traces_of(self, order_id: str, operation: str, service: str = "gateway") -> set[str]:
        """The ids of the traces in which the service did such a thing about the order."""
        path, query = self.system.search(service, {"shop.order.id": order_id}, operation)
        response = await self.client.get(f"{self.system.traces_url}{path}", params=query)
        if response.status_code == 404:
            return set()
        answer = response.json()
        # What Jaeger's own search page is given is not OTLP.
        return {trace["traceID"] for trace in answer["data"]} if "data" in answer else _trace_ids(answer)

    async def traces_since(self, begin: float, services: Iterable[str] = SERVICES) -> dict[str, set[str]]:
        """The names of the spans of each trace that these services have spans in since then; seconds since the epoch.

        Of the embedded store, which finds a trace by its time alone.
        """
        found: dict[str, set[str]] = {}
        for service in services:
            query = {"query.service_name": service, "query.num_traces": "1000"}
            query["query.start_time_min"] = datetime.fromtimestamp(begin, UTC).isoformat()
            query["query.start_time_max"] = datetime.fromtimestamp(time.time() + 60, UTC).isoformat()
            answer = await self.client.get(f"{self.system.traces_url}/api/v3/traces", params=query)
            for resource in answer.json()["result"]["resourceSpans"] if answer.status_code == 200 else ():
                for scope in resource["scopeSpans"]:
                    for span in scope["spans"]:
                        found.setdefault(span["traceId"], set()).add(span["name"])
        return found


def _spans(answer: Json) -> list[Span]:
    found: list[Span] = []
    for resource in answer["result"]["resourceSpans"]:
        process = _attributes(resource["resource"])
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                found.append(
                    Span(
                        name=span["name"],
                        service=process["service.name"],
                        instance=process["service.instance.id"],
                        span_id=span["spanId"],
                        parent_id=span.get("parentSpanId", ""),
                        kind=span["kind"],
                        status=span.get("status", {}).get("code", 0),
                        attributes=_attributes(span),
                        links=[(link["traceId"], link["spanId"]) for link in span.get("links", ())],
                        start_ns=int(span["startTimeUnixNano"]),
                        end_ns=int(span["endTimeUnixNano"]),
                    )
                )
    return found


def _trace_ids(answer: Json) -> set[str]:
    scopes = [scope for resource in answer["result"]["resourceSpans"] for scope in resource["scopeSpans"]]
    return {span["traceId"] for scope in scopes for span in scope["spans"]}


def _attributes(holder: Json) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values())) for pair in holder.get("attributes", ())}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One system for all tests of this folder, so one event loop for all of them."""
    for item in items:
        if item.path.parent == HERE and inspect.iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


SYSTEMS = ("embedded", pytest.param("containers", marks=pytest.mark.docker))

embedded = pytest.mark.parametrize("system", [SYSTEMS[0]], indirect=True)
on_containers = pytest.mark.parametrize("system", [SYSTEMS[1]], indirect=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=SYSTEMS)
async def system(request: pytest.FixtureRequest) -> AsyncIterator[System]:
    """The same shop twice: as child processes on stand-ins, and as containers on the real servers."""
    if request.param == "embedded":
        async with Embedded(ports=Ports.free(), environment=OVERRIDES) as embedded:
            yield embedded
    else:
        settings = {name: value for own in OVERRIDES.values() for name, value in own.items()}
        async with Containers(settings=settings) as containers:
            yield containers


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def containers(system: System) -> Containers:
    """The containers, for what only they can show; such a test is marked `on_containers`."""
    assert isinstance(system, Containers)
    return system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure on containers shows what they said last: they are gone when somebody asks."""
    report = yield
    system = getattr(item, "funcargs", {}).get("system")
    if report.failed and report.when == "call" and isinstance(system, Containers):
        report.sections.append(("the containers' last words", asyncio.run(system.logs())))
    return report


@pytest.fixture(scope="session")
def found(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment in which `./shop` finds this system."""
    folder = tmp_path_factory.mktemp("run")
    if isinstance(system, Containers):
        yield {**system.environment, "SHOP_FOLDER": str(folder), "SHOP_SYSTEM": "containers"}
    else:
        assert isinstance(system, Embedded)
        with system.found_in(folder):
            yield {"SHOP_FOLDER": str(folder), "SHOP_SYSTEM": "embedded"}


@pytest.fixture(scope="session")
def plays(found: Mapping[str, str]) -> "Plays":
    """The scenarios of `./shop play`, each played once on each system."""
    # It needs what this file holds.
    from e2e.plays import Plays

    return Plays(found)


@pytest_asyncio.fixture(loop_scope="session")
async def shop(system: System) -> AsyncIterator[Shop]:
    async with visiting(system) as shop:
        yield shop


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stories(system: System) -> "Stories":
    """Every kind of order, played once on each system."""
    # It is made of what this file holds.
    from e2e.stories import stories_of

    async with visiting(system) as shop:
        return await stories_of(shop)


@asynccontextmanager
async def visiting(system: System) -> AsyncGenerator[Shop]:
    """The shop that a system runs."""
    async with httpx.AsyncClient(base_url=system.gateway_url, timeout=15) as client:
        yield Shop(system, client)


@asynccontextmanager
async def shop_with(**settings: Mapping[str, str]) -> AsyncGenerator[Shop]:
    """An embedded shop of its own, for settings by the name of a service that no other test has."""
    names = {*OVERRIDES, *settings}
    environment = {name: {**OVERRIDES.get(name, {}), **settings.get(name, {})} for name in names}
    async with Embedded(ports=Ports.free(), environment=environment) as system, visiting(system) as shop:
        yield shop
