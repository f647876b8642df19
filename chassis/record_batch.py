"""Kafka's record batches as bytes: what they say about themselves, whether that holds, and how one is written.

    base offset · length · epoch · magic 2 · CRC │ attributes · last offset delta · … · count │ record, record, …
                                                 └──────────────── what the CRC is of ───────────────────────┘

Source: KIP-98, "Message Format"; of the formats before it `message_set`.
"""

import struct
from dataclasses import dataclass, replace
from typing import Self

from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c

from chassis import decompression
from chassis.decompression import Undecodable
from chassis.records import Malformed

_HEADER = struct.Struct(">qiibIhiqqqhii")
_MAGIC_AT, _CRC_AT, _CHECKED_FROM = 16, 17, 21
# What base offset and length take; the length counts what follows them.
LENGTH_END = 12
_CODEC, TIMESTAMP_TYPE, _CONTROL = 0x07, 0x08, 0x20
_MARKER_KEY_BYTES = 4
MAGIC = 2
_NOBODY = -1

# What the library's own reader raises for bytes that are not compressed.
_READING_FAILED = (KafkaError, ValueError, ArithmeticError, LookupError, MemoryError, AssertionError)


@dataclass(frozen=True, slots=True)
class Header:
    """What a batch says about itself."""

    base_offset: int
    epoch: int
    attributes: int
    last_delta: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int

    @classmethod
    def of(cls, batch: bytes) -> Self:
        """
        Raises:
            Malformed: it is too short, or of another format.
        """
        if len(batch) < _HEADER.size:
            raise Malformed(f"a batch of {len(batch)} bytes has no room for its header")
        base, _, epoch, magic, _, *rest = _HEADER.unpack_from(batch)
        if magic != MAGIC:
            raise Malformed(f"format {magic} is unknown")
        return cls(base, epoch, *rest)

    @property
    def codec(self) -> int:
        return self.attributes & _CODEC

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & _CONTROL)

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_delta + 1

    def plain(self) -> Self:
        """The same, not compressed."""
        return replace(self, attributes=self.attributes & ~_CODEC)

    def batch(self, records: bytes, count: int) -> bytes:
        """The batch of these records, with a checksum that holds."""
        rest = (self.last_delta, self.first_timestamp, self.max_timestamp)
        producer = (self.producer_id, self.producer_epoch, self.base_sequence)
        length = _HEADER.size - LENGTH_END + len(records)
        made = bytearray(
            _HEADER.pack(self.base_offset, length, self.epoch, MAGIC, 0, self.attributes, *rest, *producer, count)
        )
        made += records
        struct.pack_into(">I", made, _CRC_AT, calc_crc32c(bytes(made[_CHECKED_FROM:])))
        return bytes(made)


def header_of_nobody(base_offset: int, last_delta: int) -> Header:
    """Of a batch that nobody sent."""
    return Header(base_offset, _NOBODY, 0, last_delta, _NOBODY, _NOBODY, _NOBODY, _NOBODY, _NOBODY, 0)


def magic(batch: bytes) -> int:
    return batch[_MAGIC_AT] if len(batch) > _MAGIC_AT else -1


def check(batch: bytes) -> None:
    """
    Raises:
        Malformed: it is not as long as it says, or the checksum does not hold.
    """
    _, length, _, _, crc, *_ = _HEADER.unpack_from(batch)
    if length != len(batch) - LENGTH_END:
        raise Malformed(f"a batch says that it has {length} bytes, and there are {len(batch) - LENGTH_END}")
    if crc != calc_crc32c(batch[_CHECKED_FROM:]):
        raise Malformed("the checksum does not hold")


def payload(header: Header, batch: bytes) -> bytes:
    """The records, decompressed.

    Raises:
        Malformed: they cannot be.
    """
    records = batch[_HEADER.size :]
    if not header.codec:
        return records
    try:
        return decompression.decompress(header.codec, records)
    except Undecodable as error:
        raise Malformed(str(error)) from error


def flaw(batch: bytes, header: Header, *, ends_before: int) -> str:
    """Why the library cannot read this batch, which is not compressed, or would read it wrongly; "" if it can.

    Args:
        ends_before: the first offset that does not exist yet.
    """
    if header.last_delta < 0 or header.next_offset > ends_before:
        return f"its last offset, {header.next_offset - 1}, is not one of the partition"
    last = header.base_offset - 1
    try:
        for record in DefaultRecordBatch(batch):
            if header.is_control and len(record.key or b"") < _MARKER_KEY_BYTES:
                return "a marker of a transaction says nothing"
            if record.offset <= last:
                return f"offset {record.offset} comes after {last}"
            last = record.offset
    except _READING_FAILED as error:
        return f"{type(error).__name__}: {error}"
    return f"offset {last} is beyond its batch" if last >= header.next_offset else ""
