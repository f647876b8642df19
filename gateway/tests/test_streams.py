"""`:watch` over HTTP: events or lines, resumed, kept alive, broken off, and ended with the client."""

import asyncio
import json
from typing import Any

import grpc
import httpx
import pytest
from shop.order.v1 import order_pb2, order_service_pb2

from gateway.settings import GatewaySettings
from gateway.tests.upstream import UNKNOWN_ORDER, Upstream

EVENTS = {"accept": "text/event-stream"}


def watched(upstream: Upstream, entries: int) -> str:
    """An order with so many entries, positions 1, 2, 3 …"""
    order_id = upstream.place()
    upstream.timelines[order_id] = [_entry(position) for position in range(1, entries + 1)]
    return order_id


def _entry(position: int) -> order_pb2.TimelineEntry:
    return order_pb2.TimelineEntry(position=position, event="shop.order.v1.OrderPlaced", service="order")


def events(text: str) -> list[dict[str, str]]:
    """The events of a stream, comments left out."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


async def abort(context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "10.0.0.7: connection reset")


async def test_events_carry_their_position_as_id(client: httpx.AsyncClient, upstream: Upstream) -> None:
    answer = await client.get(f"/v1/orders/{watched(upstream, 2)}:watch", headers=EVENTS)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    found = events(answer.text)
    assert [event["id"] for event in found] == ["1", "2"]
    assert json.loads(found[1]["data"])["event"] == "shop.order.v1.OrderPlaced"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/x-ndjson"),
        ("*/*", "application/x-ndjson"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/x-ndjson, text/event-stream;q=0.5", "application/x-ndjson"),
        ("text/event-stream, */*;q=0.1", "text/event-stream"),
        ("text/*", "text/event-stream"),
        ("text/event-stream, */*", "text/event-stream"),
        ("text/event-stream, application/x-ndjson", "application/x-ndjson"),
        ("text/event-stream;q=0.5, */*;q=0.8", "application/x-ndjson"),
        ("application/x-ndjson;q=0, */*", "text/event-stream"),
        ("text/*, text/event-stream;q=0, application/*;q=0.1", "application/x-ndjson"),
        ("application/x-ndjson;Q=0.1, Text/Event-Stream;Q=0.2", "text/event-stream"),
        ("text/event-stream;q=nan, */*;q=0.1", "application/x-ndjson"),
    ],
)
async def test_the_client_chooses_the_format(
    client: httpx.AsyncClient, upstream: Upstream, accept: str | None, media_type: str
) -> None:
    if accept is None:
        del client.headers["accept"]
    headers = {"accept": accept} if accept is not None else {}

    answer = await client.get(f"/v1/orders/{watched(upstream, 1)}:watch", headers=headers)

    assert answer.headers["content-type"] == media_type


@pytest.mark.parametrize(
    "accept", ["text/html", "application/json", "*/*;q=0", "text/event-stream;q=0", "text/*, text/event-stream;q=0"]
)
async def test_a_client_that_accepts_neither_format_is_told_both(client: httpx.AsyncClient, accept: str) -> None:
    answer = await client.get(f"/v1/orders/{UNKNOWN_ORDER}:watch", headers={"accept": accept})

    assert answer.status_code == 406
    assert "text/event-stream" in answer.json()["detail"]
    assert "application/x-ndjson" in answer.json()["detail"]


async def test_what_a_client_accepts_may_stand_on_several_lines(client: httpx.AsyncClient, upstream: Upstream) -> None:
    del client.headers["accept"]
    headers = [("accept", "application/x-ndjson;q=0.5"), ("accept", "text/event-stream")]

    answer = await client.get(f"/v1/orders/{watched(upstream, 1)}:watch", headers=headers)

    assert answer.headers["content-type"] == "text/event-stream"


async def test_lines_are_json(client: httpx.AsyncClient, upstream: Upstream) -> None:
    answer = await client.get(f"/v1/orders/{watched(upstream, 3)}:watch")

    assert [json.loads(line)["position"] for line in answer.text.splitlines()] == ["1", "2", "3"]


async def test_a_stream_resumes_behind_the_last_event(client: httpx.AsyncClient, upstream: Upstream) -> None:
    """A browser repeats the query of its first request; the header it adds goes before."""
    order_id = watched(upstream, 3)

    answer = await client.get(f"/v1/orders/{order_id}:watch?afterPosition=1", headers={**EVENTS, "Last-Event-ID": "2"})

    assert [event["id"] for event in events(answer.text)] == ["3"]
    assert upstream.requests == [order_service_pb2.WatchOrderRequest(order_id=order_id, after_position=2)]


@pytest.mark.parametrize(
    ("query", "headers"),
    [("", {"Last-Event-ID": "2"}), ("?afterPosition=2", {}), ("?after_position=1", {"Last-Event-ID": "2"})],
)
async def test_a_resumed_stream_that_is_over_is_not_asked_for_again(
    client: httpx.AsyncClient, upstream: Upstream, query: str, headers: dict[str, str]
) -> None:
    """Whichever way the client says where it was."""
    answer = await client.get(f"/v1/orders/{watched(upstream, 2)}:watch{query}", headers={**EVENTS, **headers})

    assert answer.status_code == 204


async def test_a_stream_that_ends_empty_is_empty(client: httpx.AsyncClient, upstream: Upstream) -> None:
    """Only who resumes is told not to come again."""
    answer = await client.get(f"/v1/orders/{watched(upstream, 0)}:watch", headers=EVENTS)

    assert (answer.status_code, answer.text) == (200, "")


@pytest.mark.parametrize("last", ["two", "-1", ""])
async def test_a_bad_last_event_id_is_refused_by_its_name(
    client: httpx.AsyncClient, upstream: Upstream, last: str
) -> None:
    answer = await client.get(f"/v1/orders/{watched(upstream, 1)}:watch", headers={**EVENTS, "Last-Event-ID": last})

    assert answer.status_code == 400
    assert [found["field"] for found in answer.json()["violations"]] == ["Last-Event-ID"]


@pytest.mark.parametrize("headers", [EVENTS, {}])
async def test_an_error_before_the_first_message_has_its_own_status(
    client: httpx.AsyncClient, upstream: Upstream, headers: dict[str, str]
) -> None:
    upstream.before["WatchOrder"] = abort

    answer = await client.get(f"/v1/orders/{watched(upstream, 1)}:watch", headers=headers)

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert "10.0.0.7" not in answer.text


async def test_an_error_behind_the_first_message_is_an_error_event(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.before["WatchOrder.end"] = abort

    answer = await client.get(f"/v1/orders/{watched(upstream, 1)}:watch", headers=EVENTS)

    assert answer.status_code == 200
    entry, error = events(answer.text)
    assert entry["id"] == "1"
    assert error["event"] == "error"
    problem = json.loads(error["data"])
    assert (problem["status"], problem["code"]) == (503, "UNAVAILABLE")
    assert "10.0.0.7" not in answer.text


async def test_an_error_behind_the_first_message_is_the_last_line(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.before["WatchOrder.end"] = abort

    answer = await client.get(f"/v1/orders/{watched(upstream, 1)}:watch")

    entry, error = [json.loads(line) for line in answer.text.splitlines()]
    assert entry["position"] == "1"
    assert error["error"]["status"] == 503


class Parts:
    """What arrives on an open stream, piece by piece.

    Held by the test: a reader that is thrown away closes the connection.
    """

    def __init__(self, answer: httpx.Response) -> None:
        self._parts = answer.aiter_text()

    async def next(self) -> str:
        return await asyncio.wait_for(anext(self._parts), 3)

    async def rest(self) -> str:
        async with asyncio.timeout(3):
            return "".join([part async for part in self._parts])


async def test_a_silent_stream_is_kept_alive_and_then_goes_on(served: httpx.AsyncClient, upstream: Upstream) -> None:
    upstream.watch_stays_open = True
    order_id = watched(upstream, 1)

    async with served.stream("GET", f"/v1/orders/{order_id}:watch", headers=EVENTS) as answer:
        parts = Parts(answer)
        assert "id: 1\n" in await parts.next()
        assert await parts.next() == ": keep-alive\n\n"
        upstream.timelines[order_id].append(_entry(2))
        upstream.watch_stays_open = False
        upstream.more_entries.set()
        assert [event["id"] for event in events(await parts.rest())] == ["2"]


async def test_a_stream_with_nothing_to_say_yet_is_opened_all_the_same(
    served: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.watch_stays_open = True

    async with served.stream("GET", f"/v1/orders/{watched(upstream, 0)}:watch", headers=EVENTS) as answer:
        assert answer.status_code == 200
        assert await Parts(answer).next() == ": keep-alive\n\n"


@pytest.mark.parametrize("headers", [EVENTS, {}])
async def test_a_client_that_hangs_up_ends_the_call(
    served: httpx.AsyncClient, upstream: Upstream, headers: dict[str, str]
) -> None:
    upstream.watch_stays_open = True

    async with served.stream("GET", f"/v1/orders/{watched(upstream, 1)}:watch", headers=headers) as answer:
        parts = Parts(answer)
        await parts.next()
        assert not upstream.watch_ended.is_set()

    await asyncio.wait_for(upstream.watch_ended.wait(), 2)


async def test_a_client_that_hangs_up_before_the_first_message_ends_the_call(
    served: httpx.AsyncClient, upstream: Upstream, settings: GatewaySettings
) -> None:
    upstream.watch_stays_open = True
    path = f"/v1/orders/{watched(upstream, 0)}:watch"
    _, writer = await asyncio.open_connection(settings.host, settings.http_port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: gateway\r\n\r\n".encode())
    await asyncio.wait_for(upstream.watch_began.wait(), 2)

    writer.close()

    await asyncio.wait_for(upstream.watch_ended.wait(), 2)
    await writer.wait_closed()


async def test_a_gateway_that_stops_ends_its_streams_at_once(
    served: httpx.AsyncClient, upstream: Upstream, stopping: asyncio.Event
) -> None:
    upstream.watch_stays_open = True

    async with served.stream("GET", f"/v1/orders/{watched(upstream, 1)}:watch", headers=EVENTS) as answer:
        parts = Parts(answer)
        await parts.next()
        stopping.set()
        rest = await parts.rest()

    assert events(rest)[-1]["event"] == "error"
    assert json.loads(events(rest)[-1]["data"])["status"] == 503
    await asyncio.wait_for(upstream.watch_ended.wait(), 2)


async def test_open_streams_are_bounded(served: httpx.AsyncClient, upstream: Upstream) -> None:
    upstream.watch_stays_open = True
    path = f"/v1/orders/{watched(upstream, 1)}:watch"

    async with served.stream("GET", path) as first, served.stream("GET", path) as second:
        open_ones = [Parts(first), Parts(second)]
        for parts in open_ones:
            await parts.next()
        refused = await served.get(path)

    assert (refused.status_code, refused.json()["reason"]) == (503, "GATEWAY_BUSY")
    await asyncio.wait_for(upstream.watch_ended.wait(), 2)
