"""What rests: partitions that do not answer, and aggregates whose event Kafka refuses, so that the others go on.

fails ─▶ rests ─▶ on trial ─┬─▶ answers: well again
            ▲               └─▶ fails: rests twice as long, up to a bound
            └───────────────────────┘
"""

import time
from collections.abc import Hashable
from dataclasses import dataclass

REST_SECONDS = 1.0
REST_SECONDS_MAX = 5.0
# What fails again within so long was never well, and begins where it left off.
RELAPSE_SECONDS = 60.0


@dataclass(slots=True)
class _Rest:
    until: float
    seconds: float
    failed_at: float
    is_well: bool = False


class Resting:
    """Who rests, and until when. Moments are those of the monotonic clock."""

    def __init__(self) -> None:
        self._rests: dict[Hashable, _Rest] = {}

    def __bool__(self) -> bool:
        """Whether anybody rests or is on trial."""
        return any(not rest.is_well for rest in self._rests.values())

    def rests(self, who: Hashable) -> bool:
        """Whether it is to be left alone now."""
        rest = self._rests.get(who)
        return rest is not None and not rest.is_well and time.monotonic() < rest.until

    def is_on_trial(self, who: Hashable) -> bool:
        """Whether it has rested, and has not answered since."""
        rest = self._rests.get(who)
        return rest is not None and not rest.is_well and time.monotonic() >= rest.until

    def fail(self, who: Hashable) -> bool:
        """It failed; whether that is news."""
        now, rest = time.monotonic(), self._rests.get(who)
        seconds = REST_SECONDS
        if rest and now - rest.failed_at < RELAPSE_SECONDS:
            seconds = min(2 * rest.seconds, REST_SECONDS_MAX)
        self._rests[who] = _Rest(now + seconds, seconds, now)
        return rest is None or rest.is_well

    def answer(self, who: Hashable) -> bool:
        """It answered; whether that is news."""
        rest = self._rests.get(who)
        if rest is None or rest.is_well:
            return False
        rest.is_well = True
        self._forget()
        return True

    def _forget(self) -> None:
        """Forget those that have been well for long: aggregates are many."""
        now = time.monotonic()
        self._rests = {
            who: rest for who, rest in self._rests.items() if not rest.is_well or now - rest.failed_at < RELAPSE_SECONDS
        }
