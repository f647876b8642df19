"""Traces: spans about an order that lead to their source, and the context that rows and messages carry.

row or message ── traceparent, tracestate ──▶ restore() ─▶ the parent of what is done about it later
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from chassis import errors
from chassis.source import Source, code

tracer = trace.get_tracer("shop")
meter = metrics.get_meter("shop")

ORDER_ID = "shop.order.id"

# A parent that says "not sampled": the sampler follows it, so what is opened below costs next to nothing.
_UNSAMPLED = NonRecordingSpan(SpanContext(1, 1, is_remote=True, trace_flags=TraceFlags(0)))
_propagator = TraceContextTextMapPropagator()
_order_id: ContextVar[str] = ContextVar("order_id", default="")
_source: ContextVar[Source] = ContextVar("source", default={})  # noqa: B039 - nobody changes it
_onward: ContextVar["Onward | None"] = ContextVar("onward", default=None)


class TraceContext(NamedTuple):
    """A W3C trace context as rows store it and headers carry it; both parts are empty where there was no trace."""

    traceparent: str = ""
    tracestate: str = ""


class Onward(NamedTuple):
    """Where the spans of what follows hang, if that is not the current span, and what they link to."""

    trace: TraceContext
    cause: Link


@contextmanager
def about_order(order_id: str) -> Generator[None]:
    """Everything opened inside carries `shop.order.id`."""
    token = _order_id.set(order_id)
    try:
        yield
    finally:
        _order_id.reset(token)


@contextmanager
def unrecorded() -> Generator[None]:
    """No span is recorded inside: an enclosing span tells the story, or a poll found nothing to tell."""
    with inside(_UNSAMPLED):
        yield


def order_id() -> str:
    """The order that what is opened now is about, or nothing."""
    return _order_id.get()


def concerns(order_id: str) -> None:
    """Everything opened from here on in this task carries `shop.order.id`."""
    _order_id.set(order_id)


def leads_to(function: Callable[..., Any]) -> None:
    """What is opened from here on in this task leads to this function, and so does the current span.

    A span that leads somewhere already keeps its way.
    """
    source = code(function)
    _source.set(source)
    current = trace.get_current_span()
    if isinstance(current, ReadableSpan) and not (current.attributes and "code.function.name" in current.attributes):
        current.set_attributes(source)


def start_span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, AttributeValue] | None = None,
    parent: Context | None = None,
    links: Sequence[Link] = (),
    start_ns: int | None = None,
) -> Span:
    """Begin a span, which the caller ends; `start_ns` is since the epoch, now unless told."""
    attributes = {**_source.get(), **(attributes or {})}
    if order_id := _order_id.get():
        attributes.setdefault(ORDER_ID, order_id)
    return tracer.start_span(name, parent, kind, attributes, links, start_ns)


@contextmanager
def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, AttributeValue] | None = None,
    parent: Context | None = None,
    links: Sequence[Link] = (),
) -> Generator[Span]:
    """Begin a span, make it current, end it; a fault that leaves the block becomes its status and `error.type`."""
    started = start_span(name, kind, attributes, parent, links)
    token = attach(set_span_in_context(started))
    try:
        yield started
    except errors.Refusal as refusal:
        # An answer, not an error: the status stays unset.
        started.set_attribute("shop.refusal", refusal.reason)
        raise
    except BaseException as error:
        fail(started, error)
        raise
    finally:
        detach(token)
        started.end()


@contextmanager
def inside(
    current: Span, decided_by: Callable[..., Any] | None = None, onward: Onward | None = None
) -> Generator[None]:
    """Make a span current, without ending it or judging it by what leaves the block.

    Args:
        decided_by: the function that everything opened inside leads to, unless it leads somewhere itself.
        onward: where that which follows from the block hangs instead, such as the events that it promises.
    """
    token, following = attach(set_span_in_context(current)), _onward.set(onward)
    source = _source.set(code(decided_by)) if decided_by else None
    try:
        yield
    finally:
        if source:
            _source.reset(source)
        _onward.reset(following)
        detach(token)


def fail(failed: Span, error: BaseException) -> None:
    """Mark a span as failed by `error`."""
    failed.set_attribute("error.type", type(error).__qualname__)
    failed.set_status(Status(StatusCode.ERROR, str(error)[:200]))


def onward() -> Onward | None:
    """Where that which follows from here hangs, if that is not the current span."""
    return _onward.get()


def store(context_of: Span | None = None) -> TraceContext:
    """The context of a span in the form that rows and headers carry; by default that at which what follows hangs."""
    if context_of is None and (following := _onward.get()) is not None:
        return following.trace
    context = (context_of or trace.get_current_span()).get_span_context()
    if not context.is_valid:
        return TraceContext()
    state = context.trace_state.to_header() if context.trace_state else ""
    return TraceContext(f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}", state)


# Who sends or handles a message asks for its context three times: as a parent, and for two links.
@lru_cache(maxsize=1024)
def restore(stored: TraceContext) -> Context:
    """The stored context as a parent; an empty context, so a new trace, when nothing valid was stored."""
    if not stored.traceparent:
        return Context()
    return _propagator.extract({"traceparent": stored.traceparent, "tracestate": stored.tracestate}, Context())


def link(stored: TraceContext) -> list[Link]:
    """A link to the stored context, or none."""
    context = trace.get_current_span(restore(stored)).get_span_context()
    return [Link(context)] if context.is_valid else []


def trace_id(of: Span | None = None) -> str:
    """The current trace's id: 32 hexadecimal digits."""
    return f"{(of or trace.get_current_span()).get_span_context().trace_id:032x}"


def span_id(of: Span | None = None) -> str:
    """The current span's id: 16 hexadecimal digits."""
    return f"{(of or trace.get_current_span()).get_span_context().span_id:016x}"


def instance_id() -> str:
    """The id by which this process' spans name it; empty where it makes none."""
    provider = trace.get_tracer_provider()
    resource = provider.resource.attributes if isinstance(provider, TracerProvider) else {}
    return str(resource.get("service.instance.id", ""))
