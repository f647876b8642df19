"""Charging, asking and voiding, over HTTP."""

import asyncio
from typing import Any

import pytest

from infra.card_network.tests.conftest import Network


async def test_a_charge_is_made_once(network: Network, key: str) -> None:
    """The same key and the same purchase: the same charge, however often and however much at once."""
    answers = await asyncio.gather(*(network.charge(key) for _ in range(10)))
    assert {answer.text for answer in answers} == {
        f'{{"key":"{key}","state":"CHARGED","amountMinor":500,"currencyCode":"EUR","declineCode":""}}'
    }
    charges = (await network.call("GET", "/charges")).json()["charges"]
    assert [charge["state"] for charge in charges if charge["key"] == key] == ["CHARGED"]


async def test_a_key_is_not_used_for_another_purchase(network: Network, key: str) -> None:
    """422, and the first purchase stands."""
    await network.charge(key, amount_minor=500)
    assert (await network.charge(key, amount_minor=501)).status_code == 422
    assert (await network.call("GET", f"/charges/{key}")).json()["amountMinor"] == 500


async def test_who_asks_whether_it_is_there_hears_so(network: Network) -> None:
    """By the port that takes charges, for a caller who has no other; nothing is noted of it."""
    assert (await network.call("GET", "/healthz")).json() == {"status": "ok"}


async def test_an_unknown_key_is_not_found(network: Network, key: str) -> None:
    """Asking leaves no trace: the key may still be charged."""
    assert (await network.call("GET", f"/charges/{key}")).status_code == 404
    assert (await network.charge(key)).json()["state"] == "CHARGED"


async def test_a_charge_is_given_back_once(network: Network, key: str) -> None:
    """Voiding is idempotent, and a charge that comes again finds it given back."""
    await network.charge(key)
    assert [await network.void(key), await network.void(key)] == ["REFUNDED", "REFUNDED"]
    assert (await network.charge(key)).json()["state"] == "REFUNDED"


async def test_voiding_an_unknown_key_leaves_a_tombstone(network: Network, key: str) -> None:
    """A late charge takes nothing."""
    assert await network.void(key) == "VOIDED"
    assert (await network.charge(key)).json()["state"] == "VOIDED"
    assert await network.state(key) == "VOIDED"


async def test_voiding_a_declined_charge_changes_nothing(network: Network, key: str) -> None:
    """There is nothing to give back."""
    assert (await network.charge(key, "tok_declined")).json()["declineCode"] == "insufficient_funds"
    assert await network.void(key) == "DECLINED"


async def test_the_books_say_what_was_taken_and_given_back(network: Network, key: str) -> None:
    """By currency, so that another party's books can be compared with them."""

    async def totals() -> tuple[int, int]:
        books = (await network.call("GET", "/charges")).json()
        return books["takenMinor"].get("EUR", 0), books["givenBackMinor"].get("EUR", 0)

    taken, given_back = await totals()
    await network.charge(key, amount_minor=700)
    await network.charge(f"{key}-2", amount_minor=40)
    await network.charge(f"{key}-3", "tok_declined", 9)
    await network.void(f"{key}-2")
    assert await totals() == (taken + 740, given_back + 40)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"content": b"{"}, 400),
        ({"json": {}}, 422),
        ({"json": []}, 422),
        ({"json": {"amountMinor": -1, "currencyCode": "EUR", "cardToken": "tok_visa"}}, 422),
        ({"json": {"amountMinor": True, "currencyCode": "EUR", "cardToken": "tok_visa"}}, 422),
        ({"json": {"amountMinor": 1, "currencyCode": "EUR", "cardToken": "tok_visa"}}, 400),
        ({"json": {"amountMinor": 2**63, "currencyCode": "EUR", "cardToken": "tok_visa"}}, 422),
        ({"content": b'{"amountMinor":1,"currencyCode":"\\ud800","cardToken":"tok_visa"}'}, 422),
        ({"content": b"x" * 20_000}, 413),
    ],
)
async def test_a_request_that_cannot_be_read_is_refused(network: Network, content: dict[str, Any], status: int) -> None:
    """Broken, incomplete, negative, without a key, or too long."""
    assert (await network.call("POST", "/charges", **content)).status_code == status


async def test_the_books_come_in_pages(network: Network, key: str) -> None:
    """A thousand at most, and the token of the next page; nonsense is refused."""
    for number in range(3):
        await network.charge(f"{key}-{number}")
    seen, token = list[str](), ""
    while True:
        page = (await network.call("GET", f"/charges?page_size=2&page_token={token}")).json()
        assert len(page["charges"]) <= 2
        seen += [charge["key"] for charge in page["charges"]]
        if not (token := page["nextPageToken"]):
            break
    assert [found for found in seen if found.startswith(key)] == [f"{key}-{number}" for number in range(3)]
    for query in ("page_size=0", "page_size=1001", "page_size=-1", "page_token=x", "page_token=" + "9" * 30):
        assert (await network.call("GET", f"/charges?{query}")).status_code == 400


async def test_an_unknown_address_is_not_found(network: Network) -> None:
    """Also with a method that the address does not take."""
    assert (await network.call("GET", "/")).status_code == 404
    assert (await network.call("DELETE", "/charges")).status_code == 404
