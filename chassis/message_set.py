"""Messages as Kafka kept them before its record batches (formats 0 and 1), which old segments of a log may still hold.

    offset · length · CRC · magic · attributes · (timestamp) · key · value        one message, or, compressed,
    offset · length · CRC · magic · attributes · (timestamp) · null · message, message, …

Source: KIP-31 and KIP-32. They are read here altogether: the library follows a length that lies in circles.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from chassis import decompression, records
from chassis.decompression import Undecodable
from chassis.records import Frame, Malformed

_PREFIX = struct.Struct(">qiIbb")
_LENGTH_END, _CRC_FROM = 12, 16
_CODEC, _LOG_APPEND_TIME = 0x07, 0x08
_TIMESTAMP_BYTES = 8


@dataclass(frozen=True, slots=True)
class Message:
    """One message, or the wrapper of several."""

    offset: int
    magic: int
    attributes: int
    timestamp: int
    key: bytes | None
    value: bytes | None

    @property
    def codec(self) -> int:
        return self.attributes & _CODEC


def message(raw: bytes) -> Message:
    """
    Raises:
        Malformed: these bytes are not one message.
    """
    if len(raw) < _PREFIX.size:
        raise Malformed(f"a message of {len(raw)} bytes has no room for its header")
    offset, length, crc, magic, attributes = _PREFIX.unpack_from(raw)
    if length != len(raw) - _LENGTH_END:
        raise Malformed(f"a message says that it has {length} bytes, and there are {len(raw) - _LENGTH_END}")
    if magic not in (0, 1):
        raise Malformed(f"format {magic} is unknown")
    if crc != zlib.crc32(raw[_CRC_FROM:]):
        raise Malformed("the checksum does not hold")
    at, timestamp = _PREFIX.size, -1
    if magic:
        timestamp, at = int.from_bytes(raw[at : at + _TIMESTAMP_BYTES], signed=True), at + _TIMESTAMP_BYTES
    key, at = _sized(raw, at)
    value, at = _sized(raw, at)
    if at != len(raw):
        raise Malformed(f"a message goes on for {len(raw) - at} bytes behind its value")
    return Message(offset, magic, attributes, timestamp, key, value)


def _sized(raw: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = int.from_bytes(raw[at : at + 4], signed=True), at + 4
    if size == -1 and at <= len(raw):
        return None, at
    if not 0 <= size <= len(raw) - at:
        raise Malformed(f"a key or value says that it has {size} bytes")
    return raw[at : at + size], at + size


def frames(wrapper: Message) -> tuple[int, list[Frame]]:
    """The offset of the first message, and all of them as records of a batch that begins there.

    Raises:
        Malformed: there is nothing that could be read.
    """
    if not wrapper.codec:
        return wrapper.offset, [Frame(records.record(0, wrapper.key, wrapper.value), delta=0)]
    try:
        inner = decompression.decompress(wrapper.codec, wrapper.value or b"")
    except Undecodable as error:
        raise Malformed(str(error)) from error
    found = [(raw, _read(raw)) for raw in _cut(inner)]
    if not any(isinstance(each, Message) for _, each in found):
        raise Malformed("none of the messages in it can be read")
    # In format 1 they count from 0, and the wrapper has the offset of the last one.
    shift = wrapper.offset - _offset(found[-1][0]) if wrapper.magic else 0
    first = _offset(found[0][0])
    return first + shift, [_frame(raw, each, first, wrapper) for raw, each in found]


def _offset(raw: bytes) -> int:
    return int.from_bytes(raw[:8], signed=True)


def _frame(raw: bytes, read: Message | Malformed, first: int, wrapper: Message) -> Frame:
    if isinstance(read, Malformed):
        return Frame(raw, flaw=str(read))
    delta = read.offset - first
    timestamp = wrapper.timestamp if wrapper.attributes & _LOG_APPEND_TIME else read.timestamp
    # The batch that they become has the wrapper's timestamp.
    return Frame(records.record(delta, read.key, read.value, timestamp - wrapper.timestamp), delta=delta)


def _read(raw: bytes) -> Message | Malformed:
    try:
        found = message(raw)
    except Malformed as error:
        return error
    return Malformed("a compressed message lies in a compressed one") if found.codec else found


def _cut(inner: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(inner):
        length = int.from_bytes(inner[at + 8 : at + 12], signed=True)
        # A length that lies: the rest cannot be told apart.
        ends = at + 12 + length if 0 < length <= len(inner) - at - 12 else len(inner)
        yield inner[at:ends]
        at = ends
