"""What is made of a batch that the library cannot read: the records that can be read, and places for the others.

A place is a record without content, at the offset of what could not be read: so that the library counts it, hands it
out in its turn, and never looks into it. What it stands for is kept beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from aiokafka import TopicPartition

from chassis import message_set, record_batch, records
from chassis.record_batch import Header
from chassis.records import Frame, Malformed


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What a partition holds and nobody can read, from its first offset to `offset`, which is its last."""

    topic: str
    partition: int
    first_offset: int
    offset: int
    reason: str
    raw: bytes
    # Of a whole batch, header and all, else of one record or what follows it in its batch.
    is_batch: bool
    # It has no offset of its own: the message at `offset` can be read, and is to be applied.
    is_beside: bool = False
    # It may have had one; nobody knows.
    key: None = field(default=None, init=False)


@dataclass(frozen=True, slots=True)
class Mended:
    """A batch that the library reads, and what the places in it stand for."""

    batch: bytes
    unreadable: Sequence[Unreadable]
    next_offset: int
    # Nothing of it was readable, perhaps not even its length: where the next one begins is to be asked for.
    is_passed_over: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where in its partition a batch has to lie: from the offset that is expected on, before the one that is not yet.

    `next_batch` is where the next batch begins, if that is known.
    """

    partition: TopicPartition
    expected: int
    ends_before: int
    next_batch: int | None = None


def read(raw: bytes, stretch: Stretch) -> tuple[bytes, int]:
    """A batch as the library can read it, mostly as it is, and the offset behind it.

    Raises:
        Malformed: it cannot be read, or not all of it.
    """
    if record_batch.magic(raw) != record_batch.MAGIC:
        header, found = _opened(raw)
        if flaws := [frame.flaw for frame in found if frame.flaw]:
            raise Malformed(flaws[0])
        batch = header.batch(b"".join(frame.raw for frame in found), len(found))
    else:
        header = Header.of(raw)
        record_batch.check(raw)
        batch = raw
        if header.codec:
            # The library would decompress it without a bound.
            content = record_batch.payload(header, raw)
            header = header.plain()
            batch = header.batch(content, header.count)
    if flaw := record_batch.flaw(batch, header, ends_before=stretch.ends_before):
        raise Malformed(flaw)
    if header.next_offset <= stretch.expected:
        raise Malformed(f"its last offset, {header.next_offset - 1}, was read before")
    return batch, header.next_offset


def mend(raw: bytes, stretch: Stretch) -> Mended:
    """What can be had of a batch that `read` does not take."""
    try:
        header, found = _opened(raw)
        return _placed(header, found, stretch)
    except Malformed as error:
        return _passed_over(raw, str(error), stretch)


def _opened(raw: bytes) -> tuple[Header, list[Frame]]:
    """
    Raises:
        Malformed: there is nothing in it that could be trusted.
    """
    if record_batch.magic(raw) in (0, 1):
        wrapper = message_set.message(raw)
        first, found = message_set.frames(wrapper)
        header = replace(
            record_batch.header_of_nobody(first, wrapper.offset - first),
            attributes=wrapper.attributes & record_batch.TIMESTAMP_TYPE,
            first_timestamp=wrapper.timestamp,
            max_timestamp=wrapper.timestamp,
        )
        return header, found
    header = Header.of(raw)
    # No record of it can be believed: any of them may be the one that was changed.
    record_batch.check(raw)
    return header.plain(), list(records.frames(record_batch.payload(header, raw)))


def _placed(header: Header, found: Sequence[Frame], stretch: Stretch) -> Mended:
    """The batch with a place for each record that cannot be read.

    Raises:
        Malformed: no record of it has a place.
    """
    if header.is_control:
        raise Malformed("a marker of a transaction cannot be read")
    room = (stretch.next_batch or stretch.ends_before) - header.base_offset
    last = header.last_delta if header.last_delta < room else -1
    if last + 1 != header.count:
        # Each record has an offset of its own, whatever the header says.
        last = max(last, len(found) - 1)
    last = min(last, room - 1)
    placed, crowded = _places(found, last)
    good = {delta: frame for delta, frame in placed.items() if not frame.flaw}
    if not good:
        raise Malformed(found[0].flaw if found else f"{header.count} records are announced, and there is none")
    header = replace(header, last_delta=last)
    content = [good[delta].raw if delta in good else records.record(delta, None, None) for delta in sorted(placed)]
    batch = header.batch(b"".join(content), len(content))
    if flaw := record_batch.flaw(batch, header, ends_before=stretch.ends_before):
        raise Malformed(flaw)
    if header.next_offset <= stretch.expected:
        raise Malformed(f"its last offset, {header.next_offset - 1}, was read before")
    if crowded:
        raw = b"".join(frame.raw for frame in crowded)
        flaw = f"it holds {len(found)} records, and has {last + 1} offsets"
        end = header.base_offset + last
        return Mended(
            batch,
            [Unreadable(*stretch.partition, end, end, flaw, raw, is_batch=False, is_beside=True)],
            header.next_offset,
        )
    unreadable = [
        Unreadable(
            *stretch.partition,
            header.base_offset + (_begins(delta, placed) if frame.is_rest else delta),
            header.base_offset + delta,
            frame.flaw,
            frame.raw,
            is_batch=False,
        )
        for delta, frame in placed.items()
        # What lies before was handed out.
        if frame.flaw and header.base_offset + delta >= stretch.expected
    ]
    return Mended(batch, unreadable, header.next_offset)


def _places(found: Sequence[Frame], last: int) -> tuple[dict[int, Frame], list[Frame]]:
    """Each record by its offset in the batch; where that is not one of its own, the next that is free.

    Also those for which there is none, if all the others can be read.
    """
    placed: dict[int, Frame] = {}
    homeless: list[tuple[int, Frame]] = []
    crowded: list[Frame] = []
    before = -1
    for frame in found:
        if not frame.flaw and 0 <= frame.delta <= last and frame.delta not in placed:
            placed[frame.delta] = frame
            before = frame.delta
        else:
            flaw = frame.flaw or f"a record says that it is number {frame.delta} of its batch"
            homeless.append((before, replace(frame, flaw=flaw)))
    for before, frame in homeless:
        wanted = range(before + 1, last + 1)
        # Nobody knows how many records the rest was.
        ways = (reversed(wanted), range(before, -1, -1)) if frame.is_rest else (wanted, range(before, -1, -1))
        free = next((delta for way in ways for delta in way if delta not in placed), None)
        if free is not None:
            placed[free] = frame
        else:
            crowded.append(frame)
    shared = max((delta for delta, frame in placed.items() if frame.flaw), default=None)
    if crowded and shared is not None:
        # One record whose length lies is found as many: they are kept with the last that has a place.
        raw = b"".join(frame.raw for frame in (placed[shared], *crowded))
        placed[shared] = replace(placed[shared], raw=raw)
        crowded = []
    return placed, crowded


def _begins(delta: int, placed: dict[int, Frame]) -> int:
    return max((other for other in placed if other < delta), default=-1) + 1


def _passed_over(raw: bytes, reason: str, stretch: Stretch) -> Mended:
    """One place for the whole batch, whose last offset is the best that can be found out."""
    header, is_trusted = _as_far_as_known(raw)
    next_offset = stretch.next_batch or (_end_of(header, is_trusted) if header else 0)
    if not stretch.expected < next_offset <= stretch.ends_before:
        next_offset = stretch.expected + 1
    last = next_offset - 1 - stretch.expected
    # If an aborted transaction sent it, it is passed over by the library.
    stamp = header.plain() if header and is_trusted and not header.is_control else record_batch.header_of_nobody(0, 0)
    stamp = replace(stamp, base_offset=stretch.expected, last_delta=last)
    place = Unreadable(*stretch.partition, stretch.expected, next_offset - 1, reason, raw, is_batch=True)
    batch = stamp.batch(records.record(last, None, None), 1)
    return Mended(batch, [place], next_offset, is_passed_over=True)


def _end_of(header: Header, is_trusted: bool) -> int:
    """Of a header that may be damaged the nearer of its two ends: too near, and the same bytes are met once more."""
    return header.next_offset if is_trusted else min(header.next_offset, header.base_offset + header.count)


def _as_far_as_known(raw: bytes) -> tuple[Header | None, bool]:
    try:
        header = Header.of(raw)
    except Malformed:
        return None, False
    try:
        record_batch.check(raw)
    except Malformed:
        return header, False
    return header, True
