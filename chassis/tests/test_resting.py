"""What rests is tried again ever later, and is well with its first answer."""

import pytest

from chassis import resting
from chassis.resting import Resting


def test_what_fails_again_and_again_rests_ever_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to a bound; an answer makes it well at once, a relapse soon after goes on where it left off."""
    now = 100.0
    monkeypatch.setattr(resting.time, "monotonic", lambda: now)
    found = Resting()
    assert not found and not found.rests("a")
    rested: list[float] = []
    assert found.fail("a") is True
    for _ in range(4):
        assert found and found.rests("a") and not found.rests("b")
        began = now
        while found.rests("a"):
            now += 0.25
        rested.append(now - began)
        assert found.is_on_trial("a")
        assert found.fail("a") is False
    assert rested == [1.0, 2.0, 4.0, resting.REST_SECONDS_MAX]
    assert found.answer("a") is True
    assert found.answer("a") is False
    assert not found and not found.rests("a") and not found.is_on_trial("a")
    assert found.fail("a") is True
    began = now
    while found.rests("a"):
        now += 0.25
    assert now - began == resting.REST_SECONDS_MAX
    now += resting.RELAPSE_SECONDS
    found.fail("a")
    now += resting.REST_SECONDS
    assert found.is_on_trial("a")
