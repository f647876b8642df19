"""The ledger file of the release before: one JSON line for each thing that became of a charge.

ledger ─▶ ledger.new (SQLite) ─▶ ledger, and what it was is ledger.lines

Whatever ends the process on the way, the next start finds either what was there, or the whole of the new.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SQLITE = b"SQLite format 3\0"

# Numbers may be text: the columns make numbers of them.
Line = tuple[Any, ...]

# A line without escapes, as nearly all are; to read a million of them as JSON would take twice as long.
_TEXT = r'"([^"\\]*)"'
_USUAL = re.compile(
    rf'\{{"key":{_TEXT},"state":{_TEXT},'
    rf'"purchase":\{{"amount_minor":(\d+),"currency_code":{_TEXT},"card_token":{_TEXT}\}},'
    rf'"decline_code":{_TEXT},"at":([\d.e+-]+)\}}\n'
)


def left_by_the_release_before(path: Path) -> Path | None:
    """The file, if there is one and it is made of lines."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        begins = file.read(len(_SQLITE))
    return path if begins and begins != _SQLITE else None


def beginning(path: Path) -> Path:
    """Where the new file is written; what a process that was killed has left there is gone."""
    new = _new(path)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{new}{suffix}").unlink(missing_ok=True)
    return new


def replace(path: Path) -> None:
    """The new file takes the old one's name, which keeps another."""
    kept = path.with_name(f"{path.name}.lines")
    kept.unlink(missing_ok=True)
    os.link(path, kept)
    _new(path).replace(path)


def read(path: Path) -> Iterator[Line]:
    """Every line, oldest first, as the columns of a charge; half a line at the end, of which nobody heard, is none."""
    with path.open(encoding="ascii") as file:
        for line in file:
            if usual := _USUAL.match(line):
                yield usual.groups()
            elif line.endswith("\n"):
                said = json.loads(line)
                bought = said["purchase"]
                price = bought["amount_minor"], bought["currency_code"], bought["card_token"]
                yield said["key"], said["state"], *price, said["decline_code"], said["at"]


def _new(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")
