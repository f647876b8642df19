"""Spans that vanish with a rollback: a trace tells what was committed, not what was tried.

hold() ─ spans end ─┬─ the block ends well ─▶ exported
                    └─ it raises ─▶ dropped
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

_held: ContextVar[list[tuple[SpanProcessor, ReadableSpan]] | None] = ContextVar("held_spans", default=None)


class CommittedSpans(SpanProcessor):
    """Passes ended spans on, except those ended inside `hold`: they wait for the commit and vanish with a rollback."""

    def __init__(self, export: SpanProcessor) -> None:
        self._export = export

    def on_end(self, span: ReadableSpan) -> None:
        held = _held.get()
        if held is None:
            self._export.on_end(span)
        else:
            held.append((self._export, span))

    def shutdown(self) -> None:
        self._export.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._export.force_flush(timeout_millis)


@contextmanager
def hold() -> Generator[None]:
    """Keep the spans that end inside; export them when the block ends well, drop them when it raises."""
    outer = _held.get()
    held: list[tuple[SpanProcessor, ReadableSpan]] = []
    token = _held.set(held)
    try:
        yield
    finally:
        _held.reset(token)
    if outer is not None:
        outer.extend(held)
        return
    for export, ended in held:
        export.on_end(ended)
