"""Traces for the page: one by its id, as the store tells it, and the further ones about an order, by search.

page ─▶ gateway ─▶ trace store (embedded, or Jaeger); why a trace is not there is said as far as it is known
"""

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from catalogue import LATER
from chassis import uuids
from explorer.client import BYTES_MAX, Answer, Away, Client, TooLarge
from explorer.refusals import Refused, malformed
from explorer.settings import ExplorerSettings, are_exported

_NOT_STORED: Final = {"cache-control": "no-store"}
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")
# Clocks differ a little.
_TOLERANCE: Final = timedelta(minutes=1)
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_FOUND_MAX: Final = "100"


class TraceStore:
    """The trace store as the page sees it."""

    def __init__(self, settings: ExplorerSettings, client: Client) -> None:
        self._settings, self._client = settings, client
        self._url = settings.trace_store_url.rstrip("/")
        self._sampler = TraceIdRatioBased(settings.trace_sample_ratio)

    async def one(self, request: Request) -> Response:
        """What the store has of a trace now."""
        trace_id = request.path_params["trace_id"]
        if not _TRACE_ID.fullmatch(trace_id):
            raise malformed("A trace's id is 32 lower-case hexadecimal digits.")
        # Raw: otherwise Jaeger's memory keeps its remarks on a trace that is incomplete yet (jaeger#787).
        try:
            answer = await self._ask(f"/api/v3/traces/{trace_id}", {"raw_traces": "true"})
        except Away as away:
            raise self._missing(trace_id) or _away(away) from None
        if answer.status != HTTPStatus.OK:
            raise self._missing(trace_id) or _not_there(
                "TRACE_NOT_THERE", "The trace store does not have this trace: not yet, or not any more."
            )
        return Response(answer.body, media_type="application/json", headers=_NOT_STORED)

    async def about_order(self, request: Request) -> Response:
        """The further traces about an order, the oldest first; without the one that is told to be its own."""
        order_id = request.path_params["order_id"]
        if not uuids.is_canonical(order_id):
            raise malformed("This is no id of an order.")
        since = _moment(request.query_params.get("since", ""))
        try:
            found = await asyncio.gather(*(self._search(service, span, order_id, since) for service, span, _ in LATER))
        except Away as away:
            raise _away(away) from None
        titles: dict[str, str] = {}
        begins: dict[str, int] = {}
        for (_, _, title), traces in zip(LATER, found, strict=True):
            for trace_id, begin in traces.items():
                titles.setdefault(trace_id, title)
                begins[trace_id] = min(begin, begins.get(trace_id, begin))
        titles.pop(request.query_params.get("except", ""), None)
        named = [
            {"traceId": trace_id, "title": titles[trace_id]} for trace_id in sorted(titles, key=begins.__getitem__)
        ]
        return JSONResponse({"traces": named}, headers=_NOT_STORED)

    async def _search(self, service: str, operation: str, order_id: str, since: datetime) -> dict[str, int]:
        """The traces with such a span about an order, each with a time at which it was under way."""
        begin, end = since - _TOLERANCE, datetime.now(UTC) + _TOLERANCE
        tags = json.dumps({"shop.order.id": order_id})
        if self._settings.trace_store == "embedded":
            query = {"query.service_name": service, "query.operation_name": operation, "query.num_traces": _FOUND_MAX}
            query |= {"query.start_time_min": begin.isoformat(), "query.start_time_max": end.isoformat()}
            answer = await self._ask("/api/v3/traces", query | {"query.attributes": tags})
            spans = _spans(_read(answer))
        else:
            # By HTTP, Jaeger's v3 ignores attributes; this is the API that its own search page uses.
            query = {"service": service, "operation": operation, "tags": tags, "limit": _FOUND_MAX}
            query |= {"start": str(_microseconds(begin)), "end": str(_microseconds(end))}
            spans = _jaeger_spans(_read(await self._ask("/api/traces", query)))
        found: dict[str, int] = {}
        for trace_id, start in spans:
            found[trace_id] = min(start, found.get(trace_id, start))
        return found

    async def _ask(self, path: str, query: dict[str, str]) -> Answer:
        try:
            answer = await self._client.get(self._url + path, query)
        except TooLarge:
            detail = f"The trace store's answer has more than {BYTES_MAX // 1024 // 1024} MiB."
            raise Refused(HTTPStatus.BAD_GATEWAY, "OUT_OF_RANGE", "TRACE_TOO_LARGE", detail) from None
        if answer.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            raise Away(f"it answers {answer.status}")
        return answer

    def _missing(self, trace_id: str) -> Refused | None:
        """Why a trace cannot be in the store, if that is so."""
        if not are_exported(self._settings):
            return _not_there("TRACES_NOT_EXPORTED", "The processes export no spans.")
        if self._sampler.should_sample(None, int(trace_id, 16), "").decision is Decision.DROP:
            share = f"{self._settings.trace_sample_ratio:g}"
            return _not_there("TRACE_NOT_SAMPLED", f"A share of {share} is traced, and this trace is not in it.")
        return None


def _away(away: Away) -> Refused:
    detail = f"The trace store does not answer ({away})."
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", "TRACE_STORE_AWAY", detail)


def _not_there(reason: str, detail: str) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, "NOT_FOUND", reason, detail)


def _moment(text: str) -> datetime:
    """An hour ago unless told."""
    if not text:
        return datetime.now(UTC) - timedelta(hours=1)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise malformed("`since` is a time with its zone (RFC 3339).")
    return max(moment, _EPOCH)


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def _read(answer: Answer) -> Any:
    return json.loads(answer.body) if answer.status == HTTPStatus.OK else {}


def _spans(answer: Any) -> Iterator[tuple[str, int]]:
    """Each span's trace, and when it began, in OTLP's JSON."""
    for resource in answer.get("result", {}).get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                yield span["traceId"], int(span["startTimeUnixNano"])


def _jaeger_spans(answer: Any) -> Iterator[tuple[str, int]]:
    """The same in Jaeger's own JSON."""
    for trace in answer.get("data") or ():
        for span in trace["spans"]:
            # It leaves the first half out where that is zero.
            yield trace["traceID"].zfill(32), span["startTime"]
