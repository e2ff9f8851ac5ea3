"""When the LAPI is asked next."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.pacing import Pacing

SECOND = 1000
HOUR = 3600 * SECOND


def pacing(interval: int = 10 * SECOND, seed: int = 1) -> Pacing:
    """Return a timetable with a resync each hour."""
    return Pacing(interval, HOUR, Random(seed).random)


@given(st.integers(0, 1000), st.integers(SECOND, HOUR))
def test_polls_are_an_interval_apart(seed: int, interval: int) -> None:
    """After a page the next poll is an interval away, give or take a twentieth."""
    times = pacing(interval, seed)
    times.succeeded(0)
    wait = times.succeeded(interval)
    assert 0.95 * interval - 1 <= wait <= 1.05 * interval


@pytest.mark.parametrize("failed", [False, True], ids=["boot", "outage"])
def test_who_began_together_polls_apart(failed: bool) -> None:
    """A thousand that boot together, or see the same outage end, are spread over the interval by their next poll."""
    waits = []
    for seed in range(1000):
        times = pacing(10 * SECOND, seed)
        if failed:
            times.succeeded(0)
            times.failed(SECOND)
        waits.append(times.succeeded(2 * SECOND))
    assert 0 < min(waits) <= max(waits) <= 10 * SECOND
    tenths = Counter(wait // SECOND for wait in waits)
    assert all(50 < tenths[tenth] < 200 for tenth in range(10))


def test_short_intervals_are_kept_exactly() -> None:
    """Below a second nothing is spread."""
    assert {pacing(100, seed).succeeded(0) for seed in range(50)} == {100}


@given(st.integers(0, 1000), st.integers(1, 10 * SECOND))
def test_a_lapi_that_comes_up_is_asked_within_half_a_second(seed: int, up_after: int) -> None:
    """In the first ten seconds of an outage, whenever the LAPI comes up, a retry follows within 0.5 s."""
    times = pacing(seed=seed)
    now = 0
    while now < up_after:
        now += times.failed(now)
    assert now - up_after <= 500


@given(st.integers(0, 1000))
def test_first_retries_are_quick_and_few(seed: int) -> None:
    """The first retry comes within 0.1 s, and ten seconds see no more than some thirty."""
    times = pacing(seed=seed)
    waits: list[int] = []
    while sum(waits) < 10 * SECOND:
        waits.append(times.failed(sum(waits)))
    assert waits[0] <= 100
    assert len(waits) <= 35


@pytest.mark.parametrize("interval", [SECOND, 10 * SECOND, 120 * SECOND])
def test_long_outages_are_asked_seldom(interval: int) -> None:
    """Retries slow down to half a minute, or to the interval where that is longer."""
    times = pacing(interval)
    now = 0
    for _ in range(200):
        wait = times.failed(now)
        now += wait
    slowest = max(30 * SECOND, interval)
    assert 0.75 * slowest - 1 <= wait <= slowest
    assert times.failing_since == 0


def test_an_overloaded_lapi_is_left_in_peace() -> None:
    """Who got no answer in half a minute waits about as long before asking again; a refusal is tried again at once."""
    for seed in range(50):
        assert 22 * SECOND < pacing(seed=seed).failed(35 * SECOND, took=35 * SECOND) <= 30 * SECOND
        assert pacing(seed=seed).failed(5 * SECOND, took=5 * SECOND) <= 100


def test_a_page_ends_the_outage() -> None:
    """After a page the interval counts again, and the next outage starts with quick retries."""
    times = pacing()
    for second in range(100):
        times.failed(second * SECOND)
    times.succeeded(100 * SECOND)
    assert times.failing_since is None
    assert times.failed(200 * SECOND) <= 100


def test_the_first_poll_asks_for_everything() -> None:
    """There is no delta before the first snapshot, not even by suspicion's limits."""
    assert pacing().snapshot_due(0)


@given(st.integers(0, 1000))
def test_snapshots_follow_the_timetable(seed: int) -> None:
    """The next is due after the resync interval, give or take a tenth."""
    times = pacing(seed=seed)
    times.snapshot_taken(0, took=100)
    assert not times.snapshot_due(int(0.9 * HOUR) - 1)
    assert times.snapshot_due(int(1.1 * HOUR) + 1)


@pytest.mark.parametrize(("took", "earliest"), [(100, 100 * SECOND), (60 * SECOND, 1200 * SECOND)])
def test_suspicion_does_not_wear_the_lapi_out(took: int, earliest: int) -> None:
    """A snapshot on suspicion keeps ten intervals and twenty times its own cost from the one before."""
    times = pacing()
    times.snapshot_taken(0, took)
    assert not times.snapshot_due(earliest - 1, suspected=True)
    assert times.snapshot_due(earliest, suspected=True)
    assert not times.snapshot_due(earliest)


def test_after_an_outage_the_snapshots_of_many_are_spread() -> None:
    """Who sees a LAPI come back asks for everything soon: in time for three hundred such pages, and not all at once."""
    due = []
    for seed in range(100):
        times = pacing(seed=seed)
        times.snapshot_taken(0, took=100)
        times.failed(SECOND)
        times.succeeded(2 * SECOND)
        due.append(next(at for at in range(0, HOUR, SECOND) if times.snapshot_due(at)))
    assert 2 * SECOND <= min(due) <= max(due) <= 33 * SECOND
    assert 0.35 < sum(at < 17 * SECOND for at in due) / len(due) < 0.65


def test_an_outage_puts_no_snapshot_off() -> None:
    """One that was due before stays due, and one that ended the outage needs no second one."""
    times = pacing()
    times.snapshot_taken(0, took=100)
    times.failed(2 * HOUR)
    times.succeeded(2 * HOUR + SECOND)
    assert times.snapshot_due(2 * HOUR + SECOND)
    times.failed(2 * HOUR + 2 * SECOND)
    times.snapshot_taken(2 * HOUR + 3 * SECOND, took=100)
    times.succeeded(2 * HOUR + 3 * SECOND)
    assert not times.snapshot_due(int(2.89 * HOUR))
