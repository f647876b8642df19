"""What a dead letter brings: the message as it was, and in headers how it died; or as much of it as finds room.

    whole ─ refused for its size ─▶ the first bytes, a hash of all, headers within bounds ─▶ less ─▶ less

Only a letter that is whole can be sent back: see `is_whole`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import ConsumerRecord

from chassis.mending import Unreadable

Headers = list[tuple[str, bytes]]

PREFIX = "dead_"
# The value is empty where it stands for a null: the library sends no message that has neither key nor value.
NULL = f"{PREFIX}null"
# The value is bytes of the log, a record's or a batch's, that nobody could read.
RAW = f"{PREFIX}raw"
# What of the message is not all there.
CUT = f"{PREFIX}cut"

# Bytes of key, value and headers together, one after the other: a topic may take less than it should.
ROOMS = (900_000, 100_000, 8_000, 500)
REASON_CHARACTERS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Letter:
    """A message for the dead letter topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    is_smallest: bool = False


def versions(record: ConsumerRecord[bytes, bytes] | Unreadable, group: str, reason: str) -> Iterator[Letter]:
    """The whole letter first, then ever smaller ones."""
    died: dict[str, str] = {
        "reason": reason[:REASON_CHARACTERS_MAX],
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "group": group,
        "time": datetime.now(UTC).isoformat(),
    }
    if isinstance(record, Unreadable):
        key, value, said = None, record.raw, Headers()
        died |= {"first_offset": str(record.first_offset), "raw": "batch" if record.is_batch else "record"}
    else:
        key, value, said = record.key, record.value, original(record.headers)
    yield _letter(key, value, said, died)
    for room in ROOMS:
        yield _cut(key, value, said, died, room)


def original(headers: Iterable[tuple[str, bytes]]) -> Headers:
    """The headers that a message had before it died."""
    return [(name, value) for name, value in headers if not name.startswith(PREFIX)]


def is_whole(headers: Iterable[tuple[str, bytes]]) -> bool:
    """Whether this letter brings the message that died: neither bytes of the log, nor a part, nor a stand-in."""
    return not any(name in (NULL, RAW, CUT) for name, _ in headers)


def _letter(
    key: bytes | None, value: bytes | None, said: Headers, died: dict[str, str], *, is_smallest: bool = False
) -> Letter:
    if key is None and value is None:
        # A key that was cut was none.
        value, died = b"", {**died, "null": "value" if "key_sha256" in died else "key, value"}
    headers = [*said, *((PREFIX + name, text.encode()) for name, text in died.items())]
    return Letter(key, value, headers, is_smallest)


def _cut(key: bytes | None, value: bytes | None, said: Headers, died: dict[str, str], room: int) -> Letter:
    """A part for each of the three, so that none takes the room of the others."""
    cut: list[str] = []
    kept = _within(said, room // 4)
    if len(kept) < len(said):
        cut.append(f"{len(said) - len(kept)} of {len(said)} headers")
    if key is not None and len(key) > room // 4:
        cut.append(f"a key of {len(key)} bytes")
        died = {**died, "key_sha256": hashlib.sha256(key).hexdigest()}
        key = None
    if value is not None:
        died = {**died, "value_bytes": str(len(value)), "value_sha256": hashlib.sha256(value).hexdigest()}
        if len(value) > room // 2:
            cut.append(f"{len(value) - room // 2} of {len(value)} bytes of the value")
            value = value[: room // 2]
    died = {**died, "reason": died["reason"][:room], "cut": ", ".join(cut)}
    return _letter(key, value, kept, died, is_smallest=room == ROOMS[-1])


def _within(headers: Sequence[tuple[str, bytes]], bytes_max: int) -> Headers:
    """Those from the beginning on that find room; what is too large for it is left out."""
    kept: Headers = []
    for name, value in headers:
        # A header may be null on Kafka.
        size = len(name.encode()) + len(value or b"")
        if size <= bytes_max:
            bytes_max -= size
            kept.append((name, value))
    return kept
