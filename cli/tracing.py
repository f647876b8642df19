"""Spans of the command line's own: of what it does itself, beside the services that it asks."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

EXPORT_SECONDS_MAX = 2.0


@asynccontextmanager
async def exporting(endpoint: str) -> AsyncGenerator[None]:
    """The spans of the block go to this OTLP receiver, as soon as it has ended; an empty one takes none.

    A trace store that does not answer costs the spans, and a moment.
    """
    if not endpoint:
        yield
        return
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from chassis.otlp import SpanExporter
    from chassis.version import VERSION

    named = {"service.name": "command-line", "service.namespace": "shop", "service.version": VERSION}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(SpanExporter(endpoint, EXPORT_SECONDS_MAX)))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()
