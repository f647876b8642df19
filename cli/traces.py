"""The trace store's query API, which Jaeger and the embedded store share, read into spans."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

import aiohttp

from cli.failures import NoSystem
from cli.systems.running import Running
from infra.local.spans import Span, trace_spans

SECONDS_MAX = 10.0
POLL_SECONDS = 0.1


class Traces:
    """`async with Traces(system) as traces: await traces.spans(trace_id)`."""

    def __init__(self, system: Running) -> None:
        self._system = system

    async def __aenter__(self) -> "Traces":
        self._client = aiohttp.ClientSession(self._system.traces_url, timeout=aiohttp.ClientTimeout(SECONDS_MAX))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def spans(self, trace_id: str) -> list[Span]:
        """What is there of a trace now; nothing if it is not known (yet)."""
        # Raw: otherwise Jaeger's memory keeps its remarks on a trace that is incomplete yet (jaeger#787).
        status, answer = await self._get(f"/api/v3/traces/{trace_id}", {"raw_traces": "true"})
        return list(trace_spans(answer)) if status == 200 else []

    async def until(self, trace_id: str, is_told: Callable[[Sequence[Span]], bool], seconds: float) -> list[Span]:
        """A trace once it has told everything; what is there of it, if that takes too long."""
        ends_at = time.monotonic() + seconds
        while True:
            spans = await self.spans(trace_id)
            if (spans and is_told(spans)) or time.monotonic() > ends_at:
                return spans
            await asyncio.sleep(POLL_SECONDS)

    async def search(self, service: str, operation: str, order_id: str, since: datetime | None = None) -> list[str]:
        """The ids of the traces with such a span about an order, the oldest first.

        Args:
            since: when the order was placed; an hour ago unless told.
        """
        now = datetime.now(UTC)
        # Clocks differ a little.
        begin, end = (since or now - timedelta(hours=1)) - timedelta(minutes=1), now + timedelta(minutes=1)
        tags = json.dumps({"shop.order.id": order_id})
        if self._system.kind == "containers":
            # By HTTP, Jaeger's v3 ignores attributes; this is the API that its own search page uses.
            query = {"service": service, "operation": operation, "tags": tags, "limit": "100"}
            query |= {"start": str(int(begin.timestamp() * 1e6)), "end": str(int(end.timestamp() * 1e6))}
            _, answer = await self._get("/api/traces", query)
            found = {(min(span["startTime"] for span in trace["spans"]), trace["traceID"]) for trace in answer["data"]}
            return [trace_id for _, trace_id in sorted(found)]
        query = {"query.service_name": service, "query.operation_name": operation, "query.num_traces": "100"}
        query |= {"query.start_time_min": begin.isoformat(), "query.start_time_max": end.isoformat()}
        status, answer = await self._get("/api/v3/traces", query | {"query.attributes": tags})
        spans = sorted(trace_spans(answer), key=lambda span: span.start) if status == 200 else []
        return list(dict.fromkeys(span.trace_id for span in spans))

    async def _get(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        try:
            async with self._client.get(path, params=query) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise NoSystem(f"The trace store at {self._system.traces_url} does not answer: {error}") from None


def is_whole(spans: Sequence[Span], last: Iterable[tuple[str, str]]) -> bool:
    """Whether those spans, by service and name, are there as often as they are named, and the parent of every span."""
    there, known = Counter((span.service, span.name) for span in spans), {span.id for span in spans}
    return there >= Counter(last) and all(not span.parent_id or span.parent_id in known for span in spans)
