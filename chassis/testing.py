"""What the tests of several folders share: conditions to wait for, recorded spans and figures, a planner's bad days."""

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Concatenate, ParamSpec, TypeVar, cast

import asyncpg
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext
from opentelemetry.util.types import AttributeValue

from chassis import telemetry
from chassis.committed_spans import CommittedSpans
from chassis.database import Database, Transaction

T = TypeVar("T")
P = ParamSpec("P")

POLL_SECONDS = 0.01


async def eventually(condition: Callable[[], T | Awaitable[T]], *, seconds_max: float = 10.0) -> T:
    """Wait until `condition()` is true; returns its value.

    Raises:
        AssertionError: it was still false after `seconds_max`.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds_max
    while True:
        found = condition()
        value = cast(T, await found if inspect.isawaitable(found) else found)
        if value:
            return value
        if loop.time() > ends_at:
            raise AssertionError(f"not so within {seconds_max} s; the last value was {value!r}")
        await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def planning_nested_loops(superuser_url: str, role: str) -> AsyncGenerator[None]:
    """Sessions of the role that begin inside join row by row: a plan that statistics may bring about at any time."""
    superuser: asyncpg.Connection = await asyncpg.connect(superuser_url.replace("+asyncpg", ""), timeout=5)
    try:
        for other in ("hashjoin", "mergejoin", "hashagg", "material", "memoize", "sort"):
            await superuser.execute(f"ALTER ROLE {role} SET enable_{other} = off")
        yield
    finally:
        await superuser.execute(f"ALTER ROLE {role} RESET ALL")
        await superuser.close()


async def served(
    database: Database, handler: Callable[Concatenate[Transaction, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """A unit of work under a span of the handler's name, as it is under an RPC's SERVER span."""
    with telemetry.span(handler.__name__):
        return await database.unit_of_work(handler, *args, **kwargs)


class Spans:
    """The spans that ended, and were not rolled back, since the last `clear()`."""

    def __init__(self) -> None:
        # Other tests of the process may have installed the one provider that a process has.
        if not isinstance(trace.get_tracer_provider(), TracerProvider):
            trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
        provider = trace.get_tracer_provider()
        assert isinstance(provider, TracerProvider)  # noqa: S101 - set above, unless the SDK refused
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(CommittedSpans(SimpleSpanProcessor(self._exporter)))

    def clear(self) -> None:
        self._exporter.clear()

    def all(self) -> tuple[ReadableSpan, ...]:
        """In the order in which they ended."""
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only span of that name.

        Raises:
            AssertionError: there is none, or more than one.
        """
        found = self.named(name)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} spans are named {name!r}; all: {[span.name for span in self.all()]}")
        return found[0]


@functools.cache
def _reader() -> InMemoryMetricReader:
    # A process has one provider, and a provider its readers from the beginning.
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader], shutdown_on_exit=False))
    return reader


def figure(name: str, **labels: str) -> float | None:
    """The sum of a counter or gauge over all that has these labels; None if there is nothing such."""
    data = _reader().get_metrics_data()
    found = [
        point.value
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
        if isinstance(point, NumberDataPoint) and labels.items() <= (point.attributes or {}).items()
    ]
    return sum(found) if found else None


def context(span: ReadableSpan) -> SpanContext:
    found = span.get_span_context()
    if found is None:
        raise AssertionError(f"{span.name} has no context")
    return found


def attributes(span: ReadableSpan) -> Mapping[str, AttributeValue]:
    return span.attributes or {}


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    """Whether `span` is in the trace of `parent` and directly below it."""
    above = span.parent
    return above is not None and (above.trace_id, above.span_id) == (context(parent).trace_id, context(parent).span_id)


def linked(span: ReadableSpan) -> set[int]:
    """The ids of the spans that this one links to."""
    return {link.context.span_id for link in span.links}


def traceparent(span: ReadableSpan) -> str:
    """The span's context as the W3C header says it."""
    found = context(span)
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"
