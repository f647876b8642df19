"""A process' tracer and meter providers: who it is, what it samples, and where spans and figures go."""

import socket
from collections.abc import Callable

from opentelemetry import metrics, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from uuid_utils.compat import uuid7

from chassis.committed_spans import CommittedSpans
from chassis.otlp import SpanExporter
from chassis.settings import ProcessSettings
from chassis.version import VERSION

# The SDK's own boundaries are meant for milliseconds: in seconds nearly everything would fall between 0 and 5.
_SECONDS = View(
    instrument_type=Histogram,
    instrument_unit="s",
    meter_name="shop",
    aggregation=ExplicitBucketHistogramAggregation(
        (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 0.8, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
    ),
)


def _resource(service_name: str, settings: ProcessSettings) -> Resource:
    """Who speaks; in a container the host's name is the container's id."""
    named = {
        "service.name": service_name,
        "service.namespace": "shop",
        "service.version": VERSION,
        "service.instance.id": str(uuid7()),
        "host.name": socket.gethostname(),
    }
    return Resource.create({**named, "ip": settings.trace_ip} if settings.trace_ip else named)


def configure(service_name: str, settings: ProcessSettings) -> Callable[[], None]:
    """Install the process' tracer and meter providers; the returned function flushes and ends them."""
    resource = _resource(service_name, settings)
    tracer_provider = TracerProvider(
        resource=resource,
        sampler=ParentBasedTraceIdRatio(settings.trace_sample_ratio),
        shutdown_on_exit=False,
        # A round of the relay, or a poll, links to every order it carried; the usual 128 would forget the first.
        span_limits=SpanLimits(max_links=1024),
    )
    if settings.otel_exporter_otlp_endpoint:
        exporter = SpanExporter(settings.otel_exporter_otlp_endpoint, timeout_seconds=2)
        export = BatchSpanProcessor(
            exporter, schedule_delay_millis=settings.trace_flush_interval_ms, max_queue_size=16_384
        )
        tracer_provider.add_span_processor(CommittedSpans(export))
    trace.set_tracer_provider(tracer_provider)
    meter_provider = MeterProvider(
        metric_readers=[PrometheusMetricReader()], resource=resource, shutdown_on_exit=False, views=[_SECONDS]
    )
    metrics.set_meter_provider(meter_provider)

    def shutdown() -> None:
        tracer_provider.shutdown()
        meter_provider.shutdown()

    return shutdown
