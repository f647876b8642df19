"""The places of the card worker: each is a call that may be open, and a new payment always finds one.

    the first attempts at a payment ─▶ 5/8 of the places ─ takes long ─▶ one of the 3/8, or one of 1/8, or none
    later ones                      ─▶ 3/8

A card about which the network says nothing holds its place until the time-out. However many of those there are, they
hold only what is theirs to hold, and half of the places change hands quickly.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager

# So many attempts are the first: a payment whose answer got lost does not come behind those that get none.
FIRST_ATTEMPTS = 2
# A call that is open for longer takes long. Chance spreads those that began together, so that places free one by one.
LINGER_SECONDS_MIN, LINGER_SECONDS_MAX = 0.1, 1.0


class Places:
    """Counts who holds a place.

    Args:
        places_max: how many calls may be open, two at least.
        freed: called when a place has become free.
    """

    def __init__(self, places_max: int, freed: Callable[[], None]) -> None:
        self.repeated_max = max(1, places_max * 3 // 8)
        self.fresh_max = places_max - self.repeated_max
        self.lingering_max = places_max // 8
        # The lingering are among the fresh.
        self.fresh = self.lingering = self.repeated = 0
        self._freed = freed

    @property
    def fresh_room(self) -> int:
        return self.fresh_max - self.fresh

    @property
    def repeated_room(self) -> int:
        return self.repeated_max - self.repeated

    @contextmanager
    def reserved(self) -> Generator[tuple[int, int]]:
        """All the room that there is, for first and for later attempts, kept from others until places are taken."""
        fresh, repeated = self.fresh_room, self.repeated_room
        self.fresh, self.repeated = self.fresh + fresh, self.repeated + repeated
        try:
            yield fresh, repeated
        finally:
            self.fresh, self.repeated = self.fresh - fresh, self.repeated - repeated

    def take(self, attempt: int) -> "Place":
        """A place for a payment that was claimed for that attempt; there is room for it."""
        repeated = attempt > FIRST_ATTEMPTS
        if repeated:
            self.repeated += 1
        else:
            self.fresh += 1
        return Place(self, repeated=repeated)

    def freed(self) -> None:
        self._freed()


class Place:
    """One payment's place, until it is left."""

    def __init__(self, places: Places, *, repeated: bool) -> None:
        self._places, self._repeated, self._lingers = places, repeated, False

    def leave(self) -> None:
        """Make room for another payment."""
        self._places.repeated -= self._repeated
        self._places.fresh -= not self._repeated
        self._places.lingering -= self._lingers
        self._places.freed()

    @asynccontextmanager
    async def call(self) -> AsyncGenerator[None]:
        """Around one call.

        Raises:
            TimeoutError: it takes long, and all the places for such calls are held.
        """
        if self._repeated or self._lingers:
            yield
            return
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as limit:
            seconds = random.uniform(LINGER_SECONDS_MIN, LINGER_SECONDS_MAX)  # noqa: S311 - not for secrets
            overdue = loop.call_later(seconds, self._overdue, limit)
            try:
                yield
            finally:
                overdue.cancel()

    def _overdue(self, limit: asyncio.Timeout) -> None:
        places = self._places
        if places.repeated_room > 0:
            self._repeated = True
            places.fresh -= 1
            places.repeated += 1
            places.freed()
        elif places.lingering < places.lingering_max:
            self._lingers = True
            places.lingering += 1
        else:
            limit.reschedule(asyncio.get_running_loop().time())
