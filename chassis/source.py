"""Where a span's work stands in the source: the `code.*` attributes of the semantic conventions (1.44)."""

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

from opentelemetry.util.types import AttributeValue

ROOT = Path(__file__).resolve().parent.parent

Source = Mapping[str, AttributeValue]


@lru_cache(maxsize=1024)
def code(function: Callable[..., Any]) -> Source:
    """The attributes of a function: its name, and where it begins."""
    function = inspect.unwrap(function)
    return _place(function.__code__, function.__module__, function.__code__.co_firstlineno)


def call_site(depth: int) -> Source:
    """The attributes of a call on the stack: 1 is the call of the function that asks, 2 the call above it."""
    # `inspect.stack` would read every file on the way.
    frame = sys._getframe(depth + 1)  # pyright: ignore[reportPrivateUsage]
    return _place(frame.f_code, frame.f_globals["__name__"], frame.f_lineno)


@lru_cache(maxsize=4096)
def _place(source: CodeType, module: str, line: int) -> Source:
    file = Path(source.co_filename)
    return {
        "code.function.name": f"{module}.{source.co_qualname}",
        "code.file.path": str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else file.name,
        "code.line.number": line,
    }
