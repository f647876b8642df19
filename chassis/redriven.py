"""What was sent back of a partition of dead letters, as a consumer group's commit remembers it.

offset 5, metadata "7-9,12": all before 5 were sent back, and 7 to 9, and 12
"""

from collections.abc import Iterator
from typing import Self

from aiokafka.structs import OffsetAndMetadata

# Of what a broker takes as a commit's metadata (`offset.metadata.max.bytes`, 4096 unless told otherwise).
METADATA_CHARACTERS_MAX = 4_000


class TooScattered(Exception):
    """So many letters were sent back one by one that no more can be remembered; send back the whole topic."""


class Redriven:
    """Which letters of one partition were sent back: all before an offset, and some beyond it."""

    def __init__(self, committed: OffsetAndMetadata | None) -> None:
        self._before = max(0, committed.offset) if committed else 0
        # It may be null where nothing was committed.
        self._beyond = set(_read((committed.metadata if committed else "") or ""))

    def __contains__(self, offset: int) -> bool:
        return offset < self._before or offset in self._beyond

    def add(self, offset: int, first_offset: int) -> None:
        """One more was sent back.

        Args:
            first_offset: the oldest letter that is left; what was before it needs no memory.
        """
        self._before = max(self._before, first_offset)
        self._beyond.add(offset)
        while self._before in self._beyond:
            self._before += 1
        self._beyond = {each for each in self._beyond if each > self._before}

    def with_one_more(self, offset: int, first_offset: int) -> Self:
        """The same and one more; what is here stays as it is."""
        other = type(self)(None)
        other._before, other._beyond = self._before, set(self._beyond)
        other.add(offset, first_offset)
        return other

    def to_commit(self) -> OffsetAndMetadata:
        """The same as a commit.

        Raises:
            TooScattered: it does not fit.
        """
        text = _written(sorted(self._beyond))
        if len(text) > METADATA_CHARACTERS_MAX:
            raise TooScattered
        return OffsetAndMetadata(self._before, text)


def _read(text: str) -> Iterator[int]:
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _written(offsets: list[int]) -> str:
    """`5-9,12`: neighbours as one range."""
    ranges: list[list[int]] = []
    for offset in offsets:
        if ranges and ranges[-1][1] == offset - 1:
            ranges[-1][1] = offset
        else:
            ranges.append([offset, offset])
    return ",".join(f"{first}-{last}" if first < last else f"{first}" for first, last in ranges)
