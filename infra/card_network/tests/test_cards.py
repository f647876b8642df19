"""The difficult cards, each with what it is there to prove about whoever calls."""

import asyncio
import time

import httpx
import pytest

from infra.card_network.tests.conftest import Network


async def test_an_unknown_card_is_declined(network: Network, key: str) -> None:
    """A name that only looks like a card's."""
    assert (await network.charge(key, "tok_nobody")).json()["declineCode"] == "unknown_card"


async def test_a_slow_card_takes_its_time(network: Network, key: str) -> None:
    """Until it has charged, the network does not know the key; a void that comes meanwhile is first."""
    began = time.monotonic()
    assert (await network.charge(key, "tok_slow")).json()["state"] == "CHARGED"
    assert time.monotonic() - began >= 0.8
    overtaken = asyncio.create_task(network.charge(f"{key}-2", "tok_slow"))
    assert await network.void(f"{key}-2") == "VOIDED"
    assert (await overtaken).json()["state"] == "VOIDED"


async def test_a_slow_card_charges_although_the_caller_has_gone(network: Network, key: str) -> None:
    """A caller that ran out of patience knows nothing about the charge."""
    with pytest.raises(httpx.ReadTimeout):
        await network.charge(key, "tok_slow", timeout_seconds=0.2)
    assert (await network.charge(key, "tok_slow")).json()["state"] == "CHARGED"


async def test_a_flaky_card_fails_twice(network: Network, key: str) -> None:
    """Twice for each key; nothing was charged by then."""
    assert (await network.charge(key, "tok_flaky")).status_code == 503
    assert await network.state(key) is None
    assert (await network.charge(key, "tok_flaky")).status_code == 503
    assert (await network.charge(key, "tok_flaky")).json()["state"] == "CHARGED"


async def test_an_answer_is_lost(network: Network, key: str) -> None:
    """Charged, the connection cut at once, and asking tells."""
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            await network.charge(key, "tok_lost_answer")
    assert await network.state(key) == "CHARGED"


async def test_a_silent_card_answers_nothing_for_a_while(network: Network, key: str) -> None:
    """Charged, then no answer about that key on any path; a void that is waited for takes effect when it ends."""
    with pytest.raises(httpx.ReadTimeout):
        await network.charge(key, "tok_silent", timeout_seconds=0.2)
    for method, path in (("GET", f"/charges/{key}"), ("POST", f"/charges/{key}/void")):
        with pytest.raises(httpx.ReadTimeout):
            await network.call(method, path, timeout_seconds=0.2)
    assert await network.state("of-somebody-else") is None
    assert await network.state(key) == "CHARGED"
    assert await network.void(key) == "REFUNDED"
