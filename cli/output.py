"""What a command prints: tables and trees for a person, or JSON, one document or one object a line."""

import asyncio
import io
import json
import os
import re
import select
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from rich.console import Console

# A file or a pipe has no width: lines are as long as they are.
FILE_WIDTH = 200


# Addresses, commands and ids: a terminal may break their line, but no line end may get between.
TO_COPY = re.compile(r"https?://|\./shop |docker |make |[0-9a-f]{8}-[0-9a-f]{4}-|[0-9a-f]{32}")
# A stream that waits notices so soon that its reader has left.
LEFT_POLL_SECONDS = 0.5


class Terminal(Console):
    """A console that lets its command end as every other does when the reader has left."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Output:
    """Standard output for what was asked for; standard error for what is said beside it.

    Args:
        as_json: a program reads it: nothing but JSON goes to standard output.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Terminal(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else FILE_WIDTH)
        self.aside = Console(stderr=True, width=None if sys.stderr.isatty() else FILE_WIDTH)

    @property
    def is_terminal(self) -> bool:
        """Whether somebody can be asked."""
        return sys.stdin.isatty() and sys.stdout.isatty()

    def show(self, data: Any, render: Callable[[Console], None]) -> None:
        """The answer: `data` as JSON for a program, or whatever `render` prints for a person."""
        if self.as_json:
            print(json.dumps(data, indent=2))  # noqa: T201 - the answer of a command
        else:
            render(self.console)

    def line(self, data: Any, render: Callable[[Console], None]) -> None:
        """One of a stream of answers, shown at once."""
        if self.as_json:
            print(json.dumps(data), flush=True)  # noqa: T201 - the answer of a command
        else:
            render(self.console)
            self.console.file.flush()

    def say(self, text: str, style: str = "") -> None:
        """A sentence for a person, wrapped at words unless some of it is to be copied; a program does not get it."""
        if not self.as_json:
            whole = not self.console.is_terminal or TO_COPY.search(text) is not None
            self.console.print(text, style=style, highlight=False, markup=False, soft_wrap=whole)
            self.console.file.flush()

    def remark(self, text: str, style: str = "") -> None:
        """Progress or a warning, beside the answer: on standard error, for programs too."""
        self.aside.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    async def while_read(self, streaming: Coroutine[Any, Any, None]) -> None:
        """Run what prints a line now and then, until it ends or the reader of standard output has left.

        Raises:
            BrokenPipeError: the reader has left; a line would have told it too, but may never come.
        """
        task = asyncio.ensure_future(streaming)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=LEFT_POLL_SECONDS)
                if not task.done() and _reader_has_left():
                    raise BrokenPipeError
        finally:
            task.cancel()
            await asyncio.wait({task})
        task.result()


def _reader_has_left() -> bool:
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (io.UnsupportedOperation, ValueError):
        # No file, or a closed one: nobody can leave it.
        return False
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
