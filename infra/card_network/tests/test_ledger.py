"""The ledger file, which outlives the process."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from infra.card_network.ledger import Charge, KeyReused, Ledger, Purchase, State
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
    expected = before.page(), before.totals()
    before.close()
    after = Ledger(path)
    assert (after.page(), after.totals()) == expected
    with pytest.raises(KeyReused):
        after.charge("charged", Purchase(501, "EUR", "tok_visa"))
    after.close()


def line(key: str, state: str, amount_minor: int = 500, currency_code: str = "EUR", **changes: Any) -> str:
    """As the release before wrote it."""
    purchase = {"amount_minor": amount_minor, "currency_code": currency_code, "card_token": "tok_visa"}
    said = {"key": key, "state": state, "purchase": purchase, "decline_code": "", "at": 1764290000.123, **changes}
    return json.dumps(said, separators=(",", ":")) + "\n"


OLD = (
    line("charged", "CHARGED")
    + line("refunded", "CHARGED")
    + line("declined", "DECLINED", decline_code="insufficient_funds")
    + line("refunded", "REFUNDED")
    + line("voided", "VOIDED", 0, "")
    + line("größer", "CHARGED", 2**62, "USD")
    + line("greater", "CHARGED", 2**62, "USD")
)


def test_the_file_of_the_release_before_is_read(tmp_path: Path) -> None:
    """Once; it stays beside the new one. Half a line at its end was told to nobody."""
    path = tmp_path / "ledger.jsonl"
    path.write_text(OLD + line("half", "CHARGED")[:-9])
    for _ in range(2):
        ledger = Ledger(path)
        states = {charge.key: charge.state.value for charge in ledger.page().charges}
        assert states == {
            "charged": "CHARGED",
            "refunded": "REFUNDED",
            "declined": "DECLINED",
            "voided": "VOIDED",
            "größer": "CHARGED",
            "greater": "CHARGED",
        }
        assert ledger.totals() == {"EUR": (1000, 500), "USD": (2**63, 0)}
        assert ledger.charge("charged", PURCHASE) == Charge("charged", State.CHARGED, PURCHASE, "", 1764290000.123)
        assert ledger.void("refunded").state is State.REFUNDED
        ledger.close()
    assert (tmp_path / "ledger.jsonl.lines").read_text().startswith(OLD)


def test_a_start_that_was_killed_is_begun_anew(tmp_path: Path) -> None:
    """What it had written of the new file is no ledger."""
    path = tmp_path / "ledger.jsonl"
    path.write_text(OLD)
    (tmp_path / "ledger.jsonl.new").write_bytes(b"SQLite format 3\0 and no more")
    (tmp_path / "ledger.jsonl.lines").write_bytes(b"")
    ledger = Ledger(path)
    assert len(ledger.page().charges) == 6
    ledger.close()


def test_an_empty_file_is_a_new_ledger(tmp_path: Path) -> None:
    """As the release before left it that was never asked for a charge."""
    path = tmp_path / "ledger.jsonl"
    path.touch()
    ledger = Ledger(path)
    assert ledger.page().charges == []
    ledger.close()


def test_the_charges_are_read_page_by_page(tmp_path: Path) -> None:
    """Each once, oldest first, also while others are made."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    keys = [f"order-{number}" for number in range(7)]
    for key in keys[:5]:
        ledger.charge(key, PURCHASE)
    first = ledger.page(size=3)
    for key in keys[5:]:
        ledger.charge(key, PURCHASE)
    second = ledger.page(first.next_number, size=3)
    third = ledger.page(second.next_number, size=3)
    assert [charge.key for page in (first, second, third) for charge in page.charges] == keys
    assert third.next_number == 0
    ledger.close()


async def test_a_hundred_thousand_charges_are_a_matter_of_a_moment(
    tmp_path: Path, start: Callable[[], Network]
) -> None:
    """The file of the release before, and then the new one; a tenth of what has to fit into 10 s and 256 MiB."""
    network, charges = start(), 100_000
    network.ledger_path.write_text("".join(line(str(uuid4()), "CHARGED") for _ in range(charges)))
    for _ in range(2):
        await network.start()
        books: dict[str, Any] = {"nextPageToken": "0"}
        seen = 0
        for _ in range(3):
            books = (await network.call("GET", f"/charges?page_token={books['nextPageToken']}")).json()
            seen += len(books["charges"])
        assert (seen, books["takenMinor"]["EUR"]) == (3000, charges * 500)
        assert network.memory_mib() < 128
        network.kill()
