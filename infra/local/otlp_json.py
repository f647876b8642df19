"""Writes stored spans as OTLP JSON the way Jaeger's query API does: ids in hexadecimal, 64-bit numbers as strings."""

import base64
from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from infra.local.trace_store import Origin, StoredTrace

Json = dict[str, Any]


def traces_json(traces: Iterable[StoredTrace]) -> Json:
    return {"result": {"resourceSpans": [_origin(*group) for trace in traces for group in trace.spans.items()]}}


def _origin(origin: Origin, spans: list[bytes]) -> Json:
    resource = Resource.FromString(origin.resource)
    scope = InstrumentationScope.FromString(origin.scope)
    return {
        "resource": _filled(attributes=_attributes(resource.attributes)),
        "scopeSpans": [
            {
                "scope": _filled(name=scope.name, version=scope.version, attributes=_attributes(scope.attributes)),
                "spans": [_span(Span.FromString(span)) for span in spans],
            }
        ],
    }


def _span(span: Span) -> Json:
    events = [
        _filled(timeUnixNano=str(event.time_unix_nano), name=event.name, attributes=_attributes(event.attributes))
        for event in sorted(span.events, key=lambda event: event.time_unix_nano)
    ]
    links = [
        _filled(
            traceId=link.trace_id.hex(),
            spanId=link.span_id.hex(),
            traceState=link.trace_state,
            attributes=_attributes(link.attributes),
            flags=link.flags,
        )
        for link in span.links
    ]
    return _filled(
        traceId=span.trace_id.hex(),
        spanId=span.span_id.hex(),
        traceState=span.trace_state,
        parentSpanId=span.parent_span_id.hex(),
        flags=span.flags,
        name=span.name,
        kind=span.kind,
        startTimeUnixNano=str(span.start_time_unix_nano),
        endTimeUnixNano=str(span.end_time_unix_nano),
        attributes=_attributes(span.attributes),
        droppedAttributesCount=span.dropped_attributes_count,
        events=events,
        droppedEventsCount=span.dropped_events_count,
        links=links,
        droppedLinksCount=span.dropped_links_count,
    ) | {"status": _filled(message=span.status.message, code=span.status.code)}


def _attributes(attributes: Iterable[KeyValue]) -> list[Json]:
    return [{"key": item.key, "value": _value(item.value)} for item in sorted(attributes, key=lambda item: item.key)]


def _value(value: AnyValue) -> Json:
    match value.WhichOneof("value"):
        case "string_value":
            return {"stringValue": value.string_value}
        case "bool_value":
            return {"boolValue": value.bool_value}
        case "int_value":
            return {"intValue": str(value.int_value)}
        case "double_value":
            return {"doubleValue": value.double_value}
        case "bytes_value":
            return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
        case "array_value":
            return {"arrayValue": {"values": [_value(item) for item in value.array_value.values]}}
        case "kvlist_value":
            return {"kvlistValue": {"values": _attributes(value.kvlist_value.values)}}
        case _:
            return {}


def _filled(**fields: Any) -> Json:
    """The fields that hold something: proto3 JSON leaves the empty ones out."""
    return {name: value for name, value in fields.items() if value}
