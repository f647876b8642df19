"""Batches of every format and every kind of damage, as bytes: what is read, what is mended, and how far one gets."""

import gzip
import struct
import zlib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, strategies
from hypothesis.strategies import DataObject

from chassis import mending, record_batch, records
from chassis.mending import Stretch
from chassis.record_batch import Header
from chassis.records import Malformed
from chassis.screen import Screen
from chassis.tests.foreign_batches import HEADER_BYTES, LAST_DELTA_AT, batch, sealed
from chassis.tests.surroundings import event

HERE = TopicPartition("a.events", 0)
FIVE = bytes(batch(*(event(f"order-{number}") for number in range(5))))
# The shortest that any format allows.
GARBAGE = b"\0" * 7 + b"\1" + b"\0\0\0\x0e" + b"garbage of 14 "


def at(offset: int, raw: bytes) -> bytes:
    """The batch as the broker stores it: its first offset is not in the checksum."""
    return struct.pack(">q", offset) + raw[8:]


async def send(*_: Any, **__: Any) -> Any:
    raise AssertionError("nothing is sent")


class Reader:
    """A screen of one partition, asked as the library asks: again from where it got to."""

    def __init__(self, ends_before: int) -> None:
        client: Any = SimpleNamespace(_client=SimpleNamespace(send=send))
        self._screen = Screen(client)
        self._ends_before = ends_before

    def all(self, log: list[tuple[int, bytes]]) -> list[int | tuple[int, int]]:
        """Of a log of batches and their ends: each offset that can be read, first and last one of what cannot."""
        found: list[int | tuple[int, int]] = []
        position = 0
        for _ in range(100):
            fetched = b"".join(raw for end, raw in log if end > position)
            if not fetched:
                return found
            readable = MemoryRecords(
                self._screen._readable(  # pyright: ignore[reportPrivateUsage]
                    fetched, Stretch(HERE, position, self._ends_before)
                )
            )
            places = self._screen.unreadable(HERE)
            while readable.has_next():
                read = readable.next_batch()
                assert read is not None and read.validate_crc()
                for record in read:
                    if record.offset >= position:
                        place = places.get(record.offset)
                        if place is None or place.is_beside:
                            found.append(record.offset)
                        if place is not None:
                            found.append((place.first_offset, place.offset))
                position = read.next_offset
        raise AssertionError("it never gets to the end")


def test_batches_that_can_be_read_are_left_as_they_are() -> None:
    """Byte for byte: what every event costs is a look."""
    stretch = Stretch(HERE, 0, 5)
    assert mending.read(FIVE, stretch) == (FIVE, 5)


@pytest.mark.parametrize("codec", [0, 1])
@pytest.mark.parametrize("magic", [0, 1])
def test_messages_of_older_formats_are_read(magic: Any, codec: int) -> None:
    """A log that is old enough still holds them, compressed ones among them."""
    builder = LegacyRecordBatchBuilder(magic, codec, 10_000)
    for number in range(3):
        builder.append(number, 1_000 + number, b"key", b"value %d" % number)
    made = bytes(builder.build())
    raws = [made] if codec else [made[start : start + len(made) // 3] for start in range(0, len(made), len(made) // 3)]
    if codec:
        # A wrapper has the offset of its last message.
        raws = [at(2, made)]
    found = [record for raw in raws for record in DefaultRecordBatch(mending.read(raw, Stretch(HERE, 0, 3))[0])]
    assert [(each.offset, each.key, each.value) for each in found] == [
        (number, b"key", b"value %d" % number) for number in range(3)
    ]
    if magic:
        assert [each.timestamp for each in found] == [1_000, 1_001, 1_002]


def legacy(inner: bytes, offset: int) -> bytes:
    """A compressed message of format 1 around these bytes."""
    value = gzip.compress(inner)
    rest = struct.pack(">bbqii", 1, 1, 0, -1, len(value)) + value
    return struct.pack(">qiI", offset, len(rest) + 4, zlib.crc32(rest)) + rest


def test_a_length_that_leads_in_circles_is_followed_once() -> None:
    """Of a message in an old compressed one: the library would add records to a list for ever."""
    builder = LegacyRecordBatchBuilder(1, 0, 10_000)
    builder.append(0, 0, b"key", b"value")
    inner = bytes(builder.build())
    circle = struct.pack(">qi", 1, -12) + inner[12:]
    reader = Reader(ends_before=2)
    assert reader.all([(2, legacy(inner + circle, 1))]) == [0, (1, 1)]


@pytest.mark.parametrize(
    "broken",
    [
        at(5, FIVE[:40]),
        at(5, FIVE[:-20]),
        at(5, GARBAGE),
        at(5, FIVE[:8] + b"\x7f\xff\xff\xff" + FIVE[12:]),
        at(5, FIVE[:8] + b"\xff\xff\xff\xf4" + FIVE[12:]),
        at(5, FIVE[:8] + b"\0\0\0\x05" + FIVE[12:]),
        at(5, FIVE[:16] + b"\x03" + FIVE[17:]),
        at(5, FIVE[:16] + b"\x01" + FIVE[17:]),
        at(5, FIVE[:-1] + b"\0"),
        at(5, FIVE[:LAST_DELTA_AT] + b"\x7f\xff\xff\xff" + FIVE[LAST_DELTA_AT + 4 :]),
        at(5, FIVE[:LAST_DELTA_AT] + b"\xff\xff\xff\xff" + FIVE[LAST_DELTA_AT + 4 :]),
        at(5, FIVE[:21] + b"\0\x04" + FIVE[23:]),
    ],
    ids=["cut in its header", "cut", "garbage", "length too large", "length that leads back", "length too small",
         "unknown format", "another format", "checksum", "end too large", "end below zero", "codec"],
)  # fmt: skip
def test_what_lies_before_and_behind_a_broken_batch_is_read(broken: bytes) -> None:
    """Whatever is damaged: the batch is passed over, and nothing else."""
    found = Reader(ends_before=15).all([(5, at(0, FIVE)), (10, broken), (15, at(10, FIVE))])
    readable = [each for each in found if isinstance(each, int)]
    assert readable == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    places = [each for each in found if not isinstance(each, int)]
    assert (places[0][0], places[-1][1]) == (5, 9)


@given(strategies.data())
def test_no_batch_stops_a_reader(data: DataObject) -> None:
    """Any byte changed, with a checksum that holds or not: it gets to the end, and the healthy neighbours are read."""
    made = bytearray(FIVE)
    for _ in range(data.draw(strategies.integers(1, 4))):
        made[data.draw(strategies.integers(8, len(made) - 1))] = data.draw(strategies.integers(0, 255))
    raw = sealed(made) if data.draw(strategies.booleans()) else bytes(made)
    found = Reader(ends_before=15).all([(5, at(0, FIVE)), (10, at(5, raw)), (15, at(10, FIVE))])
    readable = [each for each in found if isinstance(each, int)]
    assert readable[:5] == [0, 1, 2, 3, 4]
    assert readable[-5:] == [10, 11, 12, 13, 14]
    assert len(readable) == len(set(readable))


def of_five(*content: bytes) -> bytes:
    """A batch that says it has five records, and holds these bytes."""
    return Header.of(FIVE).plain().batch(b"".join(content), 5)


def plain_records(*deltas: int) -> bytes:
    return b"".join(records.record(delta, b"key", b"value") for delta in deltas)


# A record whose length is 0 now, and its bytes found as 40 records of no length.
MANY = b"\0" * 40


@pytest.mark.parametrize(
    ("broken", "read_of_it"),
    [
        (replace(Header.of(FIVE), last_delta=5).batch(FIVE[HEADER_BYTES:], 5), [5, 6, 7, 8, 9]),
        (replace(Header.of(FIVE), last_delta=9).batch(FIVE[HEADER_BYTES:], 5), [5, 6, 7, 8, 9]),
        (of_five(MANY, plain_records(1, 2, 3, 4)), [6, 7, 8, 9]),
        (of_five(plain_records(0, 1), MANY, plain_records(3, 4)), [5, 6, 8, 9]),
        (of_five(plain_records(0, 1, 2, 3), MANY), [5, 6, 7, 8]),
        (of_five(plain_records(0, 1, 2, 3, 4), MANY), [5, 6, 7, 8, 9]),
        (of_five(plain_records(0, 1, 2, 3, 4, 5, 6)), [5, 6, 7, 8, 9]),
    ],
    ids=["ends in the next", "ends with the next", "first is many", "third is many", "last is many", "many more",
         "two more"],
)  # fmt: skip
def test_a_batch_takes_no_offset_of_the_next(broken: bytes, read_of_it: list[int]) -> None:
    """Else the messages of the next would be skipped, or buried."""
    found = Reader(ends_before=15).all([(5, at(0, FIVE)), (10, at(5, broken)), (15, at(10, FIVE))])
    assert [each for each in found if isinstance(each, int)] == [*range(5), *read_of_it, *range(10, 15)]


@pytest.mark.parametrize("place", range(5))
def test_what_has_no_place_of_its_own_is_kept(place: int) -> None:
    """A record whose length lies is found as more records than there are offsets: not one byte of it is lost."""
    good = [plain_records(delta) for delta in range(5) if delta != place]
    mended = mending.mend(of_five(*good[:place], MANY, *good[place:]), Stretch(HERE, 0, 5))
    assert [(each.offset, each.raw) for each in mended.unreadable] == [(place, MANY)]


@pytest.mark.parametrize("more", [MANY, plain_records(5, 6), plain_records(4), b"garbage"])
def test_what_has_no_place_at_all_is_kept_beside_the_last(more: bytes) -> None:
    """All records have their offsets, and bytes come behind them."""
    mended = mending.mend(of_five(plain_records(0, 1, 2, 3, 4), more), Stretch(HERE, 0, 5))
    assert [(each.offset, each.raw, each.is_beside) for each in mended.unreadable] == [(4, more, True)]
    assert [record.value for record in DefaultRecordBatch(mended.batch)] == [b"value"] * 5


def test_a_damaged_end_is_not_believed() -> None:
    """Of a batch whose length lies nobody knows where the next begins: the nearer one of its two ends holds."""
    broken = at(5, FIVE[:8] + b"\5" + FIVE[9:LAST_DELTA_AT] + b"\0\0\0\x08" + FIVE[LAST_DELTA_AT + 4 :])
    found = Reader(ends_before=15).all([(5, at(0, FIVE)), (10, broken), (15, at(10, FIVE))])
    assert found == [*range(5), (5, 9), *range(10, 15)]


def test_a_batch_without_records_is_passed() -> None:
    """As compaction leaves it: its last offset is kept."""
    empty = Header.of(FIVE).batch(b"", 0)
    assert Reader(ends_before=10).all([(5, empty), (10, at(5, FIVE))]) == [5, 6, 7, 8, 9]


def test_what_an_aborted_transaction_wrote_belongs_to_it_still() -> None:
    """Else it would be buried, though it was never said."""
    made = bytearray(FIVE)
    struct.pack_into(">h", made, 21, 0x10 | 5)
    struct.pack_into(">qh", made, 43, 77, 1)
    mended = mending.mend(sealed(made), Stretch(HERE, 0, 5))
    assert mended.is_passed_over
    read = DefaultRecordBatch(mended.batch)
    assert (read.is_transactional, read.producer_id) == (True, 77)


def test_what_cannot_be_read_says_why() -> None:
    """The reason is what an operator gets to see."""
    with pytest.raises(Malformed, match="the checksum does not hold"):
        mending.read(FIVE[:-1] + b"\0", Stretch(HERE, 0, 5))
    assert "offset" in record_batch.flaw(FIVE, Header.of(FIVE), ends_before=4)
