"""Single records of a batch as bytes: found, judged and written without the help of the others.

    length │ attributes · timestamp delta · offset delta · key · value · headers      all numbers of variable length

Source: KIP-98, "Message Format".
"""

from collections.abc import Iterator
from dataclasses import dataclass


class Malformed(Exception):
    """These bytes are not what the format says; the message says how."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One record of a batch, as bytes with its length in front; `flaw` says why it cannot be read, if it cannot."""

    raw: bytes
    delta: int = -1
    flaw: str = ""
    # The length of this one is wrong, so nobody knows where the next begins: it is all that was left.
    is_rest: bool = False


def frames(records: bytes) -> Iterator[Frame]:
    """The records of a batch one by one, whatever the others are like, and whatever the batch says of their number."""
    at = 0
    while at < len(records):
        try:
            length, begins = _number(records, at)
        except Malformed as error:
            yield Frame(records[at:], flaw=str(error), is_rest=True)
            return
        if not 0 <= length <= len(records) - begins:
            yield Frame(records[at:], flaw=f"a record says that it has {length} bytes", is_rest=True)
            return
        raw = records[at : begins + length]
        try:
            yield Frame(raw, delta=_delta(raw, begins - at))
        except Malformed as error:
            yield Frame(raw, flaw=str(error))
        at = begins + length


def _delta(raw: bytes, at: int) -> int:
    """The record's offset in its batch.

    Raises:
        Malformed: it cannot be read.
    """
    if at >= len(raw) or raw[at] >= 0x80:
        raise Malformed("a record has no attributes")
    _, at = _number(raw, at + 1)
    delta, at = _number(raw, at)
    for _ in ("key", "value"):
        at = _past(raw, at)
    headers, at = _number(raw, at)
    # Each has two lengths at least.
    if not 0 <= headers <= (len(raw) - at) // 2:
        raise Malformed(f"a record says that it has {headers} headers")
    for _ in range(headers):
        size, begins = _number(raw, at)
        at = begins + size
        if size < 0 or at > len(raw):
            raise Malformed(f"a header's name says that it has {size} bytes")
        try:
            raw[begins:at].decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"a header's name is not UTF-8: {error}") from error
        at = _past(raw, at)
    if at != len(raw):
        raise Malformed(f"a record goes on for {len(raw) - at} bytes behind its headers")
    return delta


def _past(raw: bytes, at: int) -> int:
    """Where what begins here, with its length, ends; a length below 0 is null."""
    size, at = _number(raw, at)
    at += max(0, size)
    if at > len(raw):
        raise Malformed(f"a key, value or header says that it has {size} bytes")
    return at


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The variable-length number at this place, and where it ends."""
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise Malformed("the bytes end within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
    raise Malformed("a number does not end")


def number(value: int) -> bytes:
    """As a variable-length number."""
    value = (value << 1) ^ (value >> 63)
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def record(delta: int, key: bytes | None, value: bytes | None, timestamp_delta: int = 0) -> bytes:
    """A record without headers."""
    body = b"\0" + number(timestamp_delta) + number(delta) + _sized(key) + _sized(value) + number(0)
    return number(len(body)) + body


def _sized(content: bytes | None) -> bytes:
    return number(-1) if content is None else number(len(content)) + content
