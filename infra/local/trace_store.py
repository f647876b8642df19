"""Keeps received spans in memory, as the bytes they came in, by trace; forgets the oldest traces beyond its bound."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakValueDictionary

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

# What Python adds to the bytes of a span (object header, list slot, allocation rounding) and to a trace, so that the
# bound is near the memory that is really taken.
_SPAN_OVERHEAD_BYTES = 56
_TRACE_OVERHEAD_BYTES = 700


@dataclass(eq=False, frozen=True, slots=True, weakref_slot=True)
class Origin:
    """The resource and scope that spans came from; spans of the same origin share one."""

    service: str
    resource: bytes
    scope: bytes


@dataclass(slots=True)
class StoredTrace:
    trace_id: bytes
    spans: dict[Origin, list[bytes]]
    size_bytes: int


class TraceStore:
    """Written by the receiver and read by the query API's threads; every method may be called from any thread."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        # Not a plain dict: taking its first key again and again walks over all that were there before.
        self._traces: OrderedDict[bytes, StoredTrace] = OrderedDict()
        self._origins: WeakValueDictionary[tuple[bytes, bytes], Origin] = WeakValueDictionary()
        self._lock = threading.Lock()

    def add(self, request: ExportTraceServiceRequest) -> None:
        with self._lock:
            for resource_spans in request.resource_spans:
                for scope_spans in resource_spans.scope_spans:
                    origin = self._origin(resource_spans.resource, scope_spans.scope.SerializeToString())
                    for span in scope_spans.spans:
                        self._add_span(span.trace_id, origin, span.SerializeToString())
            while self._size_bytes > self._limit_bytes and len(self._traces) > 1:
                _, oldest = self._traces.popitem(last=False)
                self._size_bytes -= oldest.size_bytes

    def get(self, trace_id: bytes) -> StoredTrace | None:
        """A copy that later spans do not change."""
        with self._lock:
            trace = self._traces.get(trace_id)
            return None if trace is None else _copied(trace)

    def newest_first(self) -> Iterator[StoredTrace]:
        with self._lock:
            trace_ids = list(reversed(self._traces))
        for trace_id in trace_ids:
            trace = self.get(trace_id)
            if trace is not None:
                yield trace

    def services(self) -> list[str]:
        with self._lock:
            return sorted({origin.service for trace in self._traces.values() for origin in trace.spans})

    def _add_span(self, trace_id: bytes, origin: Origin, span: bytes) -> None:
        trace = self._traces.get(trace_id)
        if trace is None:
            trace = self._traces[trace_id] = StoredTrace(trace_id, {}, _TRACE_OVERHEAD_BYTES)
            self._size_bytes += _TRACE_OVERHEAD_BYTES
        trace.spans.setdefault(origin, []).append(span)
        size_bytes = len(span) + _SPAN_OVERHEAD_BYTES
        trace.size_bytes += size_bytes
        self._size_bytes += size_bytes

    def _origin(self, resource: Resource, scope: bytes) -> Origin:
        key = (resource.SerializeToString(), scope)
        origin = self._origins.get(key)
        if origin is None:
            names = (item.value.string_value for item in resource.attributes if item.key == "service.name")
            origin = self._origins[key] = Origin(next(names, ""), *key)
        return origin


def _copied(trace: StoredTrace) -> StoredTrace:
    return StoredTrace(trace.trace_id, {origin: list(spans) for origin, spans in trace.spans.items()}, trace.size_bytes)
