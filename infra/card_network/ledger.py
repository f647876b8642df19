"""The network's own ledger: a file that only grows, one JSON line for each thing that became of a charge.

unknown ─▶ CHARGED ─▶ REFUNDED        unknown ─▶ DECLINED        unknown ─▶ VOIDED (a tombstone)
"""

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

_ACCEPTED = {"tok_visa", "tok_slow", "tok_flaky", "tok_lost_answer", "tok_silent"}


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


class KeyReused(Exception):
    """The idempotency key belongs to a charge that asked for something else."""

    def __init__(self) -> None:
        super().__init__(KeyReused.__doc__)


class Ledger:
    """Every charge, in memory and in the file; a change is in the file before anybody hears of it.

    Lines are written without a buffer: they survive the process. They are not synced: a power cut may take the last.
    """

    def __init__(self, path: Path) -> None:
        self._charges: dict[str, Charge] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        written = path.read_bytes()
        # A process killed in the middle of a line has told nobody of it.
        whole = written[: written.rfind(b"\n") + 1]
        os.truncate(self._file, len(whole))
        for line in whole.splitlines():
            charge = _read(line)
            self._charges[charge.key] = charge

    def close(self) -> None:
        os.close(self._file)

    def charges(self) -> Iterable[Charge]:
        """Every charge as it is now, oldest first."""
        return self._charges.values()

    def find(self, key: str) -> Charge | None:
        """The charge of that key, if the network has heard of it."""
        return self._charges.get(key)

    def charge(self, key: str, purchase: Purchase) -> Charge:
        """Takes the money or declines; what is known under the key already stays as it is.

        Raises:
            KeyReused: the key was used for another purchase.
        """
        known = self._charges.get(key)
        if known is None:
            if purchase.card_token in _ACCEPTED:
                return self._append(Charge(key, State.CHARGED, purchase))
            code = "insufficient_funds" if purchase.card_token == "tok_declined" else "unknown_card"  # noqa: S105
            return self._append(Charge(key, State.DECLINED, purchase, code))
        if known.state is not State.VOIDED and known.purchase != purchase:
            raise KeyReused
        return known

    def void(self, key: str) -> Charge:
        """Gives back what was charged; an unknown key gets a tombstone, so that a late charge takes nothing."""
        known = self._charges.get(key)
        if known is None:
            return self._append(Charge(key, State.VOIDED, Purchase()))
        if known.state is State.CHARGED:
            return self._append(replace(known, state=State.REFUNDED))
        return known

    def _append(self, charge: Charge) -> Charge:
        os.write(self._file, json.dumps(asdict(charge), separators=(",", ":")).encode() + b"\n")
        self._charges[charge.key] = charge
        return charge


def _read(line: bytes) -> Charge:
    fields: dict[str, Any] = json.loads(line)
    fields |= {"state": State(fields["state"]), "purchase": Purchase(**fields["purchase"])}
    return Charge(**fields)
