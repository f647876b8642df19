"""The services that commands are sent to: how many calls each may have open, and whether it is there at all.

    present ── a call fails, and none was accepted for a second ──▶ gone: a probe now and then
       ▲───────────────────────── a call is accepted ◀──────────────────┘

Each process of the caller judges for itself, by its own calls alone.
"""

import math
import time
from collections.abc import Mapping
from uuid import UUID

import grpc

from chassis import logs

log = logs.get(__name__)

# How long none of a target's replicas has accepted a call, before it counts as gone.
GONE_SECONDS = 1.0
# From one call to the next while nothing is accepted: at the least, so that there are never more than four a second,
# and if nothing else leads to an earlier one.
PROBE_SECONDS_MIN, PROBE_SECONDS = 0.27, 1.0
# A failure that is so long ago says nothing about now.
FORGOTTEN_SECONDS = 10.0
# After a return, when to tell how many commands were delivered: once nothing is under way any more, but not before what
# was put off by the last probes is due again; and at the latest, though more of them wait.
TOLD_SECONDS_MIN, TOLD_SECONDS_MAX = 2.5, 5.0

# What a target that is not there is answered for, by gRPC itself. With any other status one command may be at fault.
_ABSENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class Target:
    """One service, whatever the number of its replicas.

    Args:
        name: the service's full name, such as `shop.payment.v1.PaymentService`.
        calls_max: how many calls may be open at once.
    """

    def __init__(self, name: str, calls_max: int) -> None:
        self.name, self._calls_max = name, calls_max
        self._calls = 0
        self._called_at = self._accepted_at = self._failed_at = -math.inf
        # Since when nothing is accepted, if the last call that ended was not, and whose calls were not.
        self._silent_since: float | None = None
        self._failed: set[UUID] = set()
        self.is_gone = False
        # Of a return that is not told yet: when it was, after how many seconds, and what was delivered since.
        self._returned: tuple[float, float] | None = None
        self._delivered = 0

    def room(self) -> int:
        """For how many more calls there is room now."""
        free = self._calls_max - self._calls
        if self._silent_since is None:
            return free
        # While nothing is accepted, many calls would say no more than one does.
        return min(free, 1) if time.monotonic() - self._called_at >= PROBE_SECONDS_MIN else 0

    def pause_seconds(self) -> float:
        """When to look for the next call, after one that failed."""
        pause = PROBE_SECONDS if self.is_gone else PROBE_SECONDS_MIN
        return max(0.0, self._called_at + pause - time.monotonic())

    def begin(self, calls: int) -> None:
        """So many calls are made now; each ends with `end`."""
        if calls:
            self._calls += calls
            self._called_at = time.monotonic()
        elif self._calls == 0:
            self._tell_of_return(TOLD_SECONDS_MIN)

    def end(self) -> None:
        """One call has ended, and all that follows from it is done."""
        self._calls -= 1

    def accept(self) -> None:
        """The target has answered a call: with a yes, or with a no of its own."""
        now = time.monotonic()
        if self.is_gone and self._silent_since is not None:
            self.is_gone, self._returned, self._delivered = False, (now, now - self._silent_since), 0
        self._accepted_at, self._silent_since = now, None
        self._delivered += 1
        self._tell_of_return(TOLD_SECONDS_MAX)

    def fail(self, command_id: UUID, status: grpc.StatusCode, began_at: float) -> bool:
        """A call was not accepted; True if the target counts as gone from now on.

        Args:
            began_at: when the call was made, by the monotonic clock.
        """
        now = time.monotonic()
        silent_since = max(began_at, self._accepted_at)
        if self._silent_since is None or (not self.is_gone and now - self._failed_at > FORGOTTEN_SECONDS):
            self._silent_since, self._failed = silent_since, set()
        self._silent_since = min(self._silent_since, silent_since)
        self._failed_at = now
        if self.is_gone:
            return False
        self._failed.add(command_id)
        # One command that is never accepted, for a reason of its own, tells nothing about the others.
        self.is_gone = now - self._silent_since >= GONE_SECONDS and (status in _ABSENT or len(self._failed) > 1)
        if self.is_gone:
            self._tell_of_return(0.0)
        return self.is_gone

    def is_to_blame(self, status: grpc.StatusCode, began_at: float) -> bool:
        """Whether it is the target that failed a call, as far as is known, rather than this one command."""
        return self.is_gone or (self._accepted_at < began_at and (status in _ABSENT or len(self._failed) > 1))

    def _tell_of_return(self, seconds_min: float) -> None:
        """Say it, if there was one, so long ago, that is not told yet."""
        if self._returned is None or time.monotonic() - self._returned[0] < seconds_min:
            return
        away_seconds = round(self._returned[1], 1)
        log.warning("the target is back", target=self.name, seconds=away_seconds, delivered=self._delivered)
        self._returned = None


class Targets:
    """All that one dispatcher sends to."""

    def __init__(self, names: Mapping[str, object], calls_max: int) -> None:
        self._targets = {name: Target(name, calls_max) for name in names}

    def of(self, method: str) -> Target:
        """The target of an RPC, named as `/package.Service/Method`.

        Raises:
            KeyError: nothing is sent there.
        """
        return self._targets[method.split("/")[1]]

    def rooms(self) -> dict[Target, int]:
        """For how many more calls each has room now."""
        return {target: target.room() for target in self._targets.values()}
