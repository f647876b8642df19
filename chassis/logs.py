"""Structured logs: JSON lines that carry the trace and span they were written in."""

import logging
import sys

import structlog
from opentelemetry import trace
from structlog.stdlib import BoundLogger
from structlog.typing import EventDict, WrappedLogger

from chassis.log_throttle import SUPPRESSED, LogThrottle
from chassis.settings import ProcessSettings


def configure(service_name: str, settings: ProcessSettings) -> None:
    """Send our logs and those of the libraries to stderr in one format."""
    renderer = structlog.processors.JSONRenderer() if settings.log_format == "json" else structlog.dev.ConsoleRenderer()
    structlog.contextvars.bind_contextvars(service=service_name)
    ours = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_trace,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *ours,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*ours, structlog.stdlib.ExtraAdder(allow={SUPPRESSED})],
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


def get(name: str) -> BoundLogger:
    """The logger of a module."""
    return structlog.stdlib.get_logger(name)


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    # A line about what is over names the trace that it belongs to.
    if context.is_valid and "trace_id" not in event:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event
