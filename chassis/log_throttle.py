"""Keeps libraries from flooding the log: each of their texts passes at most once in a while.

A Kafka client whose broker is away tries again every few milliseconds and says so each time, a hundred lines a second.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# The attribute of a record that says how many like it were left out before it.
SUPPRESSED: Final = "suppressed"

_INTERVAL_SECONDS = 1.0
# Texts that are remembered at once, and how much of each: a library may put a value into the text itself.
_TEXTS_MAX = 256
_TEXT_CHARACTERS_MAX = 200


@dataclass(slots=True)
class _Said:
    at_seconds: float
    left_out: int = 0


class LogThrottle(logging.Filter):
    """To be put on a handler: a filter on a logger does not see what the loggers below it say.

    A text is a message before its arguments are put in, by logger and level. The next one that passes says how many
    were left out. Our own records, whose message is an event with its fields, always pass, and so does what only DEBUG
    shows.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        # The one that passed longest ago comes first.
        self._said: OrderedDict[tuple[str, int, str], _Said] = OrderedDict()
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, dict) or record.levelno < logging.INFO:
            return True
        text = (record.name, record.levelno, str(record.msg)[:_TEXT_CHARACTERS_MAX])
        with self._lock:
            now = self._clock()
            before = self._said.get(text)
            if before is not None and now - before.at_seconds < _INTERVAL_SECONDS:
                before.left_out += 1
                return False
            self._said[text] = _Said(now)
            self._said.move_to_end(text)
            if len(self._said) > _TEXTS_MAX:
                self._said.popitem(last=False)
        if before is not None and before.left_out:
            setattr(record, SUPPRESSED, before.left_out)
        return True
