"""Kafka's four codecs, with a bound: what would need more memory is refused before the memory is spent.

Each decoder is given room for one byte more than it may fill, or says itself how much it is going to need.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import cramjam

# A broker takes batches of 1 MiB unless told otherwise. A few kB can be made to unfold to gigabytes.
BATCH_BYTES_MAX = 8 * 2**20
# Every client writes one; each costs the time of a copy of what is behind it.
GZIP_MEMBERS_MAX = 100
# What ordinary batches unfold to, at most; the whole bound is set aside only for those that do not fit.
ORDINARY_BYTES = 2**20

XERIAL = b"\x82SNAPPY\x00"
XERIAL_HEADER_BYTES = 16

NAMES: Mapping[int, str] = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}


class Undecodable(Exception):
    """The bytes are not what their codec makes, or unfold to more than the bound; the message says which."""


def decompress(codec: int, data: bytes) -> bytes:
    """What was compressed, at most `BATCH_BYTES_MAX` of it.

    Args:
        codec: as the attributes of a batch number it.

    Raises:
        Undecodable: see there.
    """
    decode = _DECODERS.get(codec)
    if decode is None:
        raise Undecodable(f"codec {codec} is unknown")
    return decode(data)


def _gzip(data: bytes) -> bytes:
    unfolded = bytearray()
    for _ in range(GZIP_MEMBERS_MAX):
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            unfolded += member.decompress(data, BATCH_BYTES_MAX + 1 - len(unfolded))
        except zlib.error as error:
            raise Undecodable(f"gzip: {error}") from error
        if len(unfolded) > BATCH_BYTES_MAX:
            raise _too_large("gzip")
        if not member.eof:
            raise Undecodable("gzip: it ends too early")
        # Zeros may stand behind a member, for padding.
        if not (data := member.unused_data.lstrip(b"\0")):
            return bytes(unfolded)
    raise Undecodable("gzip: too many members")


def _snappy(data: bytes) -> bytes:
    if not data.startswith(XERIAL):
        return _snappy_block(data, 0)
    unfolded, at = bytearray(), XERIAL_HEADER_BYTES
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], signed=True)
        at += 4
        if not 0 < size <= len(data) - at:
            raise Undecodable("snappy: a block is not as long as it says")
        unfolded += _snappy_block(data[at : at + size], len(unfolded))
        at += size
    return bytes(unfolded)


def _snappy_block(data: bytes, already: int) -> bytes:
    # A block begins with the size that it unfolds to, and the decoder sets aside as much.
    size = 0
    for place, byte in enumerate(data[:5]):
        size |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            break
    if already + size > BATCH_BYTES_MAX:
        raise _too_large("snappy")
    try:
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError as error:
        raise Undecodable(f"snappy: {error}") from error


def _into_room(name: str, decompress_into: Callable[[bytes, bytearray], int]) -> Callable[[bytes], bytes]:
    """A decoder that is given a place to write to, and fails where the place is too small."""

    def decode(data: bytes) -> bytes:
        failure: Exception | None = None
        for room in (ORDINARY_BYTES, BATCH_BYTES_MAX + 1):
            place = bytearray(room)
            try:
                size = decompress_into(data, place)
            except (cramjam.DecompressionError, OSError, ValueError) as error:
                failure = error
            else:
                if size > BATCH_BYTES_MAX:
                    raise _too_large(name)
                return bytes(memoryview(place)[:size])
        raise Undecodable(f"{name}: it is damaged, or more than {BATCH_BYTES_MAX} bytes: {failure}")

    return decode


def _too_large(name: str) -> Undecodable:
    return Undecodable(f"{name}: it unfolds to more than {BATCH_BYTES_MAX} bytes")


_cramjam: Any = cramjam
_DECODERS: Mapping[int, Callable[[bytes], bytes]] = {
    1: _gzip,
    2: _snappy,
    3: _into_room("lz4", _cramjam.lz4.decompress_into),
    4: _into_room("zstd", _cramjam.zstd.decompress_into),
}
