"""The network's own ledger: a file with what became of each charge, and what was taken and given back in all.

unknown ─▶ CHARGED ─▶ REFUNDED        unknown ─▶ DECLINED        unknown ─▶ VOIDED (a tombstone)
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from infra.card_network import lines

_ACCEPTED = {"tok_visa", "tok_slow", "tok_flaky", "tok_lost_answer", "tok_silent"}

# A charge is in the file before anybody hears of it, so it survives the process. Nothing is synced: a power cut may
# take the last ones. The cache is in KiB, negative by SQLite's custom.
_SETTINGS = "PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;"
_TABLES = """
    CREATE TABLE charges (
        number INTEGER PRIMARY KEY,
        key TEXT NOT NULL,
        state TEXT NOT NULL,
        amount_minor INTEGER NOT NULL,
        currency_code TEXT NOT NULL,
        card_token TEXT NOT NULL,
        decline_code TEXT NOT NULL,
        at REAL NOT NULL
    );
    -- Text, for a sum may be more than the file has integers for.
    CREATE TABLE totals (currency_code TEXT PRIMARY KEY, taken_minor TEXT NOT NULL, given_back_minor TEXT NOT NULL);
"""
# Apart from the table, for it is made of many charges at once faster than with each.
_INDEX = "CREATE UNIQUE INDEX charges_key ON charges (key)"
_READ = "SELECT key, state, amount_minor, currency_code, card_token, decline_code, at FROM charges WHERE key = ?"
_PAGE = "SELECT * FROM charges WHERE number > ? ORDER BY number LIMIT ?"
_INSERT = "INSERT INTO charges VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)"
_REFUND = "UPDATE charges SET state = 'REFUNDED' WHERE key = ?"
_TOTALS = "SELECT currency_code, taken_minor, given_back_minor FROM totals"
# In two parts, for the sum may be more than the file has integers for.
_ADD_UP = """
    SELECT currency_code, state, sum(amount_minor / 1000000), sum(amount_minor % 1000000) FROM charges
    WHERE state IN ('CHARGED', 'REFUNDED') GROUP BY currency_code, state
"""
_TOTAL = "INSERT OR REPLACE INTO totals VALUES (?, ?, ?)"


# What was taken and what was given back, by currency.
Totals = dict[str, tuple[int, int]]


class State(StrEnum):
    """What became of a charge. Only a charged one can change again."""

    CHARGED = "CHARGED"
    DECLINED = "DECLINED"
    REFUNDED = "REFUNDED"
    VOIDED = "VOIDED"


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a charge asks for; empty on a tombstone, which was never asked for anything."""

    amount_minor: int = 0
    currency_code: str = ""
    card_token: str = ""


@dataclass(frozen=True, slots=True)
class Charge:
    """One idempotency key and what became of it.

    Args:
        at: when the network first heard of the key, in seconds since the epoch.
    """

    key: str
    state: State
    purchase: Purchase
    decline_code: str = ""
    at: float = field(default_factory=time.time)


class Page(NamedTuple):
    """Some charges, oldest first, and behind which number the next page begins; 0 behind the last."""

    charges: Sequence[Charge]
    next_number: int


class KeyReused(Exception):
    """The idempotency key belongs to a charge that asked for something else."""

    def __init__(self) -> None:
        super().__init__(KeyReused.__doc__)


class Ledger:
    """Every charge, in a file of SQLite, of which only a little is in memory.

    A file of the release before, with a line for each thing that became of a charge, is read once, and kept beside it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        old = lines.left_by_the_release_before(path)
        if old is not None:
            _take_over(old, lines.beginning(path))
            lines.replace(path)
        self._file = _opened(path)
        self._file.execute("PRAGMA journal_mode = WAL")

    def close(self) -> None:
        self._file.close()

    def page(self, after_number: int = 0, size: int = 1000) -> Page:
        """At most so many charges as they are now, behind a number that a page before has named."""
        rows = self._file.execute(_PAGE, (after_number, size)).fetchall()
        return Page([_charge(*row[1:]) for row in rows], rows[-1][0] if len(rows) == size else 0)

    def totals(self) -> Totals:
        """What was taken and what was given back, by currency."""
        return {currency: (int(taken), int(given)) for currency, taken, given in self._file.execute(_TOTALS)}

    def find(self, key: str) -> Charge | None:
        """The charge of that key, if the network has heard of it."""
        row = self._file.execute(_READ, (key,)).fetchone()
        return row and _charge(*row)

    def charge(self, key: str, purchase: Purchase) -> Charge:
        """Takes the money or declines; what is known under the key already stays as it is.

        Raises:
            KeyReused: the key was used for another purchase.
        """
        known = self.find(key)
        if known is None:
            if purchase.card_token in _ACCEPTED:
                return self._write(Charge(key, State.CHARGED, purchase))
            code = "insufficient_funds" if purchase.card_token == "tok_declined" else "unknown_card"  # noqa: S105
            return self._write(Charge(key, State.DECLINED, purchase, code))
        if known.state is not State.VOIDED and known.purchase != purchase:
            raise KeyReused
        return known

    def void(self, key: str) -> Charge:
        """Gives back what was charged; an unknown key gets a tombstone, so that a late charge takes nothing."""
        known = self.find(key)
        if known is None:
            return self._write(Charge(key, State.VOIDED, Purchase()))
        if known.state is State.CHARGED:
            return self._write(replace(known, state=State.REFUNDED))
        return known

    def _write(self, charge: Charge) -> Charge:
        bought = charge.purchase
        row = (bought.amount_minor, bought.currency_code, bought.card_token, charge.decline_code, charge.at)
        self._file.execute("BEGIN")
        if charge.state is State.REFUNDED:
            self._file.execute(_REFUND, (charge.key,))
        else:
            self._file.execute(_INSERT, (charge.key, charge.state, *row))
        _add(totals := self.totals(), charge.state, bought.amount_minor, bought.currency_code)
        if total := totals.get(bought.currency_code):
            self._file.execute(_TOTAL, (bought.currency_code, *map(str, total)))
        self._file.execute("COMMIT")
        return charge


def _opened(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, isolation_level=None)
    file.executescript(_SETTINGS)
    if not file.execute("SELECT 1 FROM sqlite_schema WHERE name = 'charges'").fetchone():
        file.executescript(f"BEGIN; {_TABLES} {_INDEX}; COMMIT;")
    return file


def _take_over(old: Path, new: Path) -> None:
    """Write the lines of the release before into a new file, which is begun anew if this is not the end of it."""
    refunded: list[lines.Line] = []

    def first_of_each() -> Iterator[lines.Line]:
        for line in lines.read(old):
            if line[1] == "REFUNDED":
                refunded.append(line[:1])
            else:
                yield line

    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as file:
        file.executescript(f"PRAGMA journal_mode = OFF; {_SETTINGS} BEGIN; {_TABLES}")
        file.executemany(_INSERT, first_of_each())
        file.execute(_INDEX)
        file.executemany(_REFUND, refunded)
        totals: Totals = {}
        for currency, state, millions, rest in file.execute(_ADD_UP):
            taken, given_back = totals.get(currency, (0, 0))
            minor = millions * 1_000_000 + rest
            totals[currency] = (taken + minor, given_back + minor * (state == State.REFUNDED))
        file.executemany(_TOTAL, [(currency, *map(str, total)) for currency, total in totals.items()])
        file.execute("COMMIT")


def _add(totals: Totals, state: str, amount_minor: int, currency_code: str) -> None:
    """Add what a charge that is now in that state has taken or given back since it was in another."""
    if state in (State.CHARGED, State.REFUNDED):
        taken, given_back = totals.get(currency_code, (0, 0))
        charged = state == State.CHARGED
        totals[currency_code] = (taken + amount_minor * charged, given_back + amount_minor * (not charged))


def _charge(
    key: str, state: str, amount_minor: int, currency_code: str, card_token: str, decline_code: str, at: float
) -> Charge:
    return Charge(key, State(state), Purchase(amount_minor, currency_code, card_token), decline_code, at)
