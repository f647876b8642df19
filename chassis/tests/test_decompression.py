"""All four codecs are read, and none of them past the bound."""

import gzip
import struct
import subprocess
import sys
import zlib
from contextlib import suppress

import cramjam
import pytest

from chassis.decompression import BATCH_BYTES_MAX, XERIAL, Undecodable, decompress

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
CONTENT = bytes(range(256)) * 300


def framed(content: bytes, block_bytes: int = 32 * 1024) -> bytes:
    """Snappy as Java's clients write it: a header, and blocks with their lengths."""
    made = XERIAL + struct.pack(">ii", 1, 1)
    for at in range(0, len(content), block_bytes):
        block = bytes(cramjam.snappy.compress_raw(content[at : at + block_bytes]))
        made += struct.pack(">i", len(block)) + block
    return made


def compressed(codec: str, content: bytes) -> bytes:
    match codec:
        case "gzip":
            return gzip.compress(content)
        case "two gzip members":
            return gzip.compress(content[:100]) + gzip.compress(content[100:])
        case "snappy":
            return bytes(cramjam.snappy.compress_raw(content))
        case "framed snappy":
            return framed(content)
        case "lz4":
            return bytes(cramjam.lz4.compress(content))
        case _:
            return bytes(cramjam.zstd.compress(content))


CODECS = [("gzip", GZIP), ("two gzip members", GZIP), ("snappy", SNAPPY), ("framed snappy", SNAPPY), ("lz4", LZ4),
          ("zstd", ZSTD)]  # fmt: skip


@pytest.mark.parametrize(("name", "codec"), CODECS)
@pytest.mark.parametrize("size", [0, 1, len(CONTENT), 5 * 2**20, BATCH_BYTES_MAX])
def test_what_was_compressed_is_had_again(name: str, codec: int, size: int) -> None:
    """Up to the bound, to the byte."""
    content = (CONTENT * (1 + size // len(CONTENT)))[:size]
    assert decompress(codec, compressed(name, content)) == content


@pytest.mark.parametrize(("name", "codec"), CODECS)
def test_one_byte_beyond_the_bound_is_refused(name: str, codec: int) -> None:
    with pytest.raises(Undecodable, match=str(BATCH_BYTES_MAX)):
        decompress(codec, compressed(name, bytes(BATCH_BYTES_MAX + 1)))


@pytest.mark.parametrize(("name", "codec"), CODECS)
def test_damaged_bytes_are_refused(name: str, codec: int) -> None:
    """Cut off, or something else altogether: never another exception, and never more than there was."""
    whole = compressed(name, CONTENT)
    for damaged in (b"", b"\0", whole[:10], b"no such codec" * 5, whole[:20] + bytes(20) + whole[40:]):
        with suppress(Undecodable):
            assert len(decompress(codec, damaged)) <= len(CONTENT)


def test_a_snappy_block_that_lies_about_its_length_is_refused() -> None:
    """Of its content, or of itself: beyond the bound, and below zero."""
    for lie in (b"\xff\xff\xff\xff\x0f", XERIAL + struct.pack(">iii", 1, 1, -4), XERIAL + bytes(8) + b"\0"):
        with pytest.raises(Undecodable):
            decompress(SNAPPY, lie + b"abc")


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(Undecodable, match="codec 5"):
        decompress(5, b"")


MEASURE = """
import resource, sys
from chassis.decompression import Undecodable, decompress
codec, bomb = int(sys.argv[1]), sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decompress(codec, bomb)
except Undecodable:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(("name", "codec"), [each for each in CODECS if each[0] != "two gzip members"])
def test_a_bomb_costs_no_more_memory_than_the_bound(name: str, codec: int) -> None:
    """150 MiB of zeros: refused before they are there."""
    bomb = compressed(name, bytes(150 * 2**20))
    done = subprocess.run([sys.executable, "-c", MEASURE, str(codec)], input=bomb, capture_output=True, check=True)
    assert int(done.stdout) < 3 * BATCH_BYTES_MAX // 1024


def test_ever_more_empty_gzip_members_are_refused() -> None:
    """Each costs a look at all that follows."""
    empty = zlib.compressobj(wbits=zlib.MAX_WBITS | 16).flush()
    with pytest.raises(Undecodable, match="too many"):
        decompress(GZIP, empty * 1_000)
