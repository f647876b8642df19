"""How far a member is: nothing that waits is ever committed, and all of it is lag."""

import pytest
from aiokafka import TopicPartition
from hypothesis import given, strategies

from chassis import progress
from chassis.progress import Progress

HERE, THERE = TopicPartition("events", 0), TopicPartition("events", 1)


@given(strategies.lists(strategies.tuples(strategies.booleans(), strategies.integers(0, 5)), max_size=60))
def test_the_committed_offset_stays_below_what_waits(steps: list[tuple[bool, int]]) -> None:
    """Whatever is taken, waits and is done, in any order: offset and lag are those of a plain list."""
    member = Progress()
    member.begin(HERE, 100)
    waiting: list[int] = []
    taken = 100
    for waits, which in steps:
        if which == 0 or not waiting:
            if waits:
                member.wait(HERE, taken, 10)
                waiting.append(taken)
            member.take(HERE, taken)
            taken += 1
        else:
            member.done(HERE, waiting.pop(which % len(waiting)), 10)
        expected = min([*waiting, taken])
        assert dict(member.committable()) == ({HERE: expected} if expected != 100 else {})
        assert member.lag(HERE, taken + 7) == 7 + len(waiting)
        assert member.next_offset(HERE) == taken


def test_what_was_committed_is_not_committed_again() -> None:
    """Only what has moved since costs a round trip."""
    member = Progress()
    member.begin(HERE, 0)
    member.begin(THERE, 0)
    member.take(HERE, 4)
    assert dict(member.committable()) == {HERE: 5}
    member.committed({HERE: 5})
    assert dict(member.committable()) == {}
    member.take(THERE, 0)
    assert dict(member.committable()) == {THERE: 1}


def test_a_partition_is_full_when_it_is_far_ahead_of_its_oldest_waiting_message() -> None:
    """Ten thousand messages, those included that the next fetch may bring; without one that waits there is no bound."""
    member = Progress()
    member.begin(HERE, 0)
    member.take(HERE, 1_000_000)
    assert not member.is_full(HERE, 200)
    member.wait(HERE, 1_000_001, 10)
    member.take(HERE, 1_000_001 + 9_799)
    assert not member.is_full(HERE, 200)
    member.take(HERE, 1_000_001 + 9_800)
    assert member.is_full(HERE, 200)
    assert not member.is_full(THERE, 200)
    member.done(HERE, 1_000_001, 10)
    assert not member.is_full(HERE, 200)


def test_the_memory_of_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it, the partitions that have something waiting are full; the others go on."""
    monkeypatch.setattr(progress, "WAITING_BYTES_MAX", 100)
    member = Progress()
    for partition in (HERE, THERE):
        member.begin(partition, 0)
    member.wait(HERE, 0, 100)
    assert member.is_full(HERE, 1)
    assert not member.is_full(THERE, 1)
    member.done(HERE, 0, 100)
    assert not member.is_full(HERE, 1)


def test_what_ends_after_the_partition_has_moved_changes_nothing() -> None:
    """A message that waited before a rebalance is not one that waits now, though it may have the same offset."""
    member = Progress()
    member.begin(HERE, 0)
    member.wait(HERE, 0, 10)
    member.clear()
    for late in (lambda: member.take(HERE, 0), lambda: member.wait(HERE, 1, 10), lambda: member.done(HERE, 0, 10)):
        late()
    assert (member.lag(HERE, 9), dict(member.committable())) == (None, {})
    member.begin(HERE, 0)
    member.done(HERE, 0, 10)
    member.wait(HERE, 0, 10)
    member.take(HERE, 0)
    assert dict(member.committable()) == {}
