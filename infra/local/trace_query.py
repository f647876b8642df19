"""Reads a trace search from the query parameters of Jaeger's API."""

import json
import re
from dataclasses import dataclass, field
from datetime import datetime

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNIT_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}

Parameters = dict[str, str]


class MalformedQuery(Exception):
    """A parameter is missing or cannot be read; the message names it."""


class NothingFound(Exception):
    """The store has no such trace, or the API no such path; the message says which."""


@dataclass(frozen=True, kw_only=True)
class TraceQuery:
    """Times and durations are nanoseconds; what is empty or None is not asked for."""

    start_min: int
    start_max: int
    service: str = ""
    operation: str = ""
    duration_min: int | None = None
    duration_max: int | None = None
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    depth: int = 100


def trace_query(parameters: Parameters) -> TraceQuery:
    start_min = either(parameters, "query.start_time_min")
    start_max = either(parameters, "query.start_time_max")
    if not (start_min and start_max):
        raise MalformedQuery("query.start_time_min and query.start_time_max are required")
    depth = either(parameters, "query.search_depth") or either(parameters, "query.num_traces") or "100"
    if not depth.isdigit():
        raise MalformedQuery(f"malformed parameter query.num_traces: {depth}")
    return TraceQuery(
        start_min=_time_ns("query.start_time_min", start_min),
        start_max=_time_ns("query.start_time_max", start_max),
        service=either(parameters, "query.service_name"),
        operation=either(parameters, "query.operation_name"),
        duration_min=_duration_ns("query.duration_min", either(parameters, "query.duration_min")),
        duration_max=_duration_ns("query.duration_max", either(parameters, "query.duration_max")),
        attributes=_attributes(parameters.get("query.attributes", "{}")),
        depth=int(depth),
    )


def either(parameters: Parameters, snake_name: str) -> str:
    """A parameter by its snake_case name, as Jaeger up to 2.13 reads it, or its camelCase one, as later versions do."""
    camel_name = re.sub(r"_(.)", lambda letter: letter[1].upper(), snake_name)
    return parameters.get(snake_name) or parameters.get(camel_name) or ""


def _time_ns(name: str, text: str) -> int:
    try:
        # RFC 3339 has up to nanoseconds; datetime takes six digits and drops the rest.
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedQuery(f"malformed parameter {name}: {text}") from None
    if moment.tzinfo is None:
        raise MalformedQuery(f"malformed parameter {name}: {text} has no time zone")
    return round(moment.timestamp() * 10**6) * 10**3


def _duration_ns(name: str, text: str) -> int | None:
    if not text:
        return None
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        raise MalformedQuery(f"malformed parameter {name}: {text}")
    return round(sum(float(number) * _UNIT_NS[unit] for number, unit in parts))


def _attributes(text: str) -> dict[str, str]:
    try:
        attributes = json.loads(text)
    except ValueError:
        attributes = None
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        raise MalformedQuery("malformed parameter query.attributes: not a JSON map of strings")
    return attributes
