"""Structured logs: JSON lines that carry the trace and span they were written in."""

import logging
import sys

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from chassis.log_throttle import SUPPRESSED, LogThrottle
from chassis.settings import ProcessSettings


def configure(service_name: str, settings: ProcessSettings) -> None:
    """Send our logs and those of the libraries to stderr in one format."""
    renderer = structlog.processors.JSONRenderer() if settings.log_format == "json" else structlog.dev.ConsoleRenderer()
    structlog.contextvars.bind_contextvars(service=service_name)
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_trace,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    # Ours go straight to stderr: by way of the standard library, as those of libraries do, a line costs twice as much.
    structlog.configure(
        processors=[*shared, renderer],
        logger_factory=_NamedLogger,
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow={SUPPRESSED})],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(LogThrottle())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    # They log each request, or each reconnect attempt with a stack trace; our own spans and metrics say it better.
    for noisy in ("uvicorn.access", "alembic.runtime.migration"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _NamedLogger(structlog.WriteLogger):
    """Writes lines to stderr, and knows for whom."""

    def __init__(self, name: str) -> None:
        super().__init__(sys.stderr)
        self.name = name


def get(name: str) -> FilteringBoundLogger:
    """The logger of a module."""
    return structlog.get_logger(name)


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    # A line about what is over names the trace that it belongs to.
    if context.is_valid and "trace_id" not in event:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event
