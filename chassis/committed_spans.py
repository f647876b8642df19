"""Spans that vanish with a rollback: a trace tells what was committed, not what was tried.

hold() ─ spans end ─┬─ the block ends well ─▶ exported
                    ├─ it raises ─▶ dropped
                    └─ it raises, and nobody knows what became of it ─▶ exported, marked
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

import asyncpg
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

# On the spans of an attempt whose COMMIT got no answer: it may have been the one that counts, or never have been.
OUTCOME, UNKNOWN = "shop.transaction.outcome", "unknown"


class Held:
    """The spans of one attempt, that wait for its end."""

    def __init__(self) -> None:
        self._spans: list[tuple[SpanProcessor, ReadableSpan]] = []
        # Set where the attempt may have been committed although it has failed.
        self.is_unknown = False

    def add(self, export: SpanProcessor, span: ReadableSpan) -> None:
        self._spans.append((export, span))

    def pass_on(self, outer: "Held | None") -> None:
        """Export the spans, or leave that to the attempt that this one is a part of."""
        for export, span in self._spans:
            if self.is_unknown:
                # Whatever becomes of what is around it.
                export.on_end(_marked(span))
            elif outer is not None:
                outer.add(export, span)
            else:
                export.on_end(span)

    @contextmanager
    def committing(self, end_spans: Callable[[], None]) -> Generator[None]:
        """Around the COMMIT: one that gets no answer leaves the outcome unknown, and `end_spans` ends what is open."""
        try:
            yield
        except BaseException as error:
            if not _is_answer(error):
                self.is_unknown = True
                end_spans()
            raise


_held: ContextVar[Held | None] = ContextVar("held_spans", default=None)


class CommittedSpans(SpanProcessor):
    """Passes ended spans on, except those ended inside `hold`: they wait for the commit and vanish with a rollback."""

    def __init__(self, export: SpanProcessor) -> None:
        self._export = export

    def on_end(self, span: ReadableSpan) -> None:
        held = _held.get()
        if held is None:
            self._export.on_end(span)
        else:
            held.add(self._export, span)

    def shutdown(self) -> None:
        self._export.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._export.force_flush(timeout_millis)


@contextmanager
def hold() -> Generator[Held]:
    """Keep the spans that end inside; export them when the block ends well, drop them when it raises.

    Where it raises after `committing` had no answer they are exported too, and say so.
    """
    outer, held = _held.get(), Held()
    token = _held.set(held)
    ends_well = False
    try:
        yield held
        ends_well = True
    finally:
        _held.reset(token)
        if ends_well or held.is_unknown:
            held.pass_on(outer)


# What the driver calls a lost connection (class 08), and a server's own word that it does not know.
_NO_ANSWER = (asyncpg.PostgresConnectionError, asyncpg.StatementCompletionUnknownError)


def _is_answer(error: BaseException) -> bool:
    """Whether the server has said what became of the transaction: an error at COMMIT is a rollback."""
    return isinstance(error, asyncpg.PostgresError) and not isinstance(error, _NO_ANSWER)


def _marked(span: ReadableSpan) -> ReadableSpan:
    """The same span, which has ended and cannot be changed, with the outcome beside its attributes."""
    return ReadableSpan(
        span.name,
        span.context,
        span.parent,
        span.resource,
        {**(span.attributes or {}), OUTCOME: UNKNOWN},
        span.events,
        span.links,
        span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
