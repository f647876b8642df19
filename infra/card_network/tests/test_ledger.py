"""The ledger file, which outlives the process."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.card_network.ledger import KeyReused, Ledger, Purchase, State
from infra.card_network.tests.conftest import Network

PURCHASE = Purchase(500, "EUR", "tok_visa")


async def test_the_ledger_survives_the_process(start: Callable[[], Network]) -> None:
    """Killed without a warning while charges come in: whatever was answered is known to its successor."""
    first = start()
    await first.start()
    answered: list[str] = []

    async def charge(key: str) -> None:
        if (await first.charge(key)).is_success:
            answered.append(key)

    charges = [asyncio.create_task(charge(f"order-{number}")) for number in range(60)]
    await asyncio.wait(charges[:5])
    first.kill()
    await asyncio.gather(*charges, return_exceptions=True)
    assert len(answered) >= 5
    second = start()
    await second.start()
    assert {await second.state(key) for key in answered} == {"CHARGED"}


def test_everything_is_read_again(tmp_path: Path) -> None:
    """Charges, declines, refunds, tombstones, and what was asked for."""
    path = tmp_path / "ledger.jsonl"
    before = Ledger(path)
    before.charge("charged", PURCHASE)
    before.charge("declined", Purchase(1, "EUR", "tok_declined"))
    before.charge("refunded", PURCHASE)
    before.void("refunded")
    before.void("voided")
    before.close()
    after = Ledger(path)
    assert list(after.charges()) == list(before.charges())
    with pytest.raises(KeyReused):
        after.charge("charged", Purchase(501, "EUR", "tok_visa"))
    after.close()


def test_the_ledger_only_grows(tmp_path: Path) -> None:
    """A refund is a line of its own; what was written stays."""
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.charge("key", PURCHASE)
    written = path.read_bytes()
    ledger.void("key")
    ledger.charge("key", PURCHASE)
    ledger.void("key")
    ledger.close()
    assert path.read_bytes().startswith(written)
    assert len(path.read_bytes().splitlines()) == 2


def test_half_a_line_is_forgotten(tmp_path: Path) -> None:
    """Nobody had heard of what was being written; the next line begins cleanly."""
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.charge("whole", PURCHASE)
    ledger.close()
    with path.open("ab") as file:
        file.write(b'{"key":"half","state":"CHAR')
    ledger = Ledger(path)
    assert ledger.find("half") is None
    ledger.charge("next", PURCHASE)
    ledger.close()
    reopened = Ledger(path)
    assert [(charge.key, charge.state) for charge in reopened.charges()] == [
        ("whole", State.CHARGED),
        ("next", State.CHARGED),
    ]
    reopened.close()
