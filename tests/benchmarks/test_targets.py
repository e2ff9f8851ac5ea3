"""What is said about the goals follows from the measures, and from nothing else."""

from __future__ import annotations

import json
import math

import pytest

from tests.benchmarks import names, report
from tests.benchmarks.measure import Measures
from tests.benchmarks.targets import Target, targets

OURS, DEBIANS, GIVEN = (names.who(whose, "nftables") for whose in (names.OURS, names.DEBIANS, names.GIVEN))


def find(measures: Measures, *words: str) -> Target:
    """Return the one goal whose name has all these words."""
    [found] = [each for each in targets(measures) if all(word in each.what for word in words)]
    return found


def test_without_measures_nothing_is_claimed() -> None:
    """Every goal is told as not measured, in the table and in JSON."""
    for each in targets(Measures()):
        assert each.reached is None
        assert each.met is None
        assert each.missed_by is None
        assert json.loads(json.dumps(each.as_json()))["met"] is None
    assert report.goals(targets(Measures())).count("not measured") == len(targets(Measures()))


def test_a_cold_start_is_compared_with_others_and_with_what_cannot_be_avoided() -> None:
    """A start of 2 s is 2 times the unavoidable second, 50 times faster than 100 s and not 5 times than 3 s."""
    measures = Measures()
    for whose, seconds in ((OURS, 2.0), (names.UNAVOIDABLE, 1.0), (DEBIANS, 100.0), (GIVEN, 3.0)):
        measures.add(names.COLD, names.SECONDS, whose, 100_000, seconds)
    unavoidable = find(measures, "nftables", "unavoidable")
    assert (unavoidable.reached, unavoidable.met) == (2.0, False)
    assert unavoidable.missed_by == pytest.approx(4 / 3)
    assert find(measures, "nftables", "faster than Debian's").met
    given = find(measures, "nftables", "faster than the incumbent given")
    assert given.met is False
    assert given.missed_by == pytest.approx(10 / 3)


def test_a_million_counts_only_if_it_was_done() -> None:
    """A start that was cut off has reached nothing, however little memory it took."""
    measures = Measures()
    measures.add(names.COLD, names.SECONDS, OURS, 1_000_000, 10.0)
    measures.add(names.COLD, names.PEAK, OURS, 1_000_000, 550.0)
    assert find(measures, "nftables", "done").met
    measures.add(names.COLD, names.SECONDS, OURS, 1_000_000, 300.0, "cut off after 30 s with 10 % there")
    missed = find(measures, "nftables", "done")
    assert missed.missed_by == math.inf
    assert missed.as_json()["reached"] is None


def test_the_slowest_change_stands_for_all() -> None:
    """Of additions, renewals, deletions and ranges the slowest is told, and the one that grew most."""
    measures = Measures()
    for deed, small, large in ((names.ADDED, 1.0, 3.0), (names.DELETED, 4.0, 5.0)):
        measures.add(names.CHANGE, names.changed(1, deed), OURS, 1_000, small)
        measures.add(names.CHANGE, names.changed(1, deed), OURS, 1_000_000, large)
    slowest, grown = (find(measures, "nftables", "one change", word) for word in ("slowest", "against"))
    assert (slowest.reached, slowest.met, slowest.note) == (5.0, True, "1 deleted")
    assert (grown.reached, grown.met, grown.note) == (3.0, False, "1 added")


def test_a_step_that_is_steeper_than_n_log_n_is_told() -> None:
    """From 1,000 to 10,000 n log n grows 13.3 times: 10 times is less, 100 times is 7.5 times too much."""
    measures = Measures()
    for size, megabytes, seconds in ((1_000, 1.0, 1.0), (10_000, 10.0, 100.0), (100_000, 50.0, 200.0)):
        measures.add(names.COLD, names.SECONDS, OURS, size, seconds)
        measures.add(names.COLD, names.PEAK, OURS, size, megabytes)
    memory, time = (find(measures, "nftables", "growth", word) for word in ("peak", "time"))
    assert memory.met
    assert time.reached == pytest.approx(7.5)
    assert time.note == "from 1,000 to 10,000"


def test_memory_at_rest_is_compared_with_the_incumbents() -> None:
    """60 MB beside 40 MB is one and a half times as much."""
    measures = Measures()
    measures.add(names.IDLE, names.REST, OURS, 100_000, 60.0)
    measures.add(names.IDLE, names.REST, DEBIANS, 100_000, 40.0)
    assert find(measures, "nftables", "memory against Debian's").missed_by == pytest.approx(1.5)
    assert find(measures, "nftables", "memory against the incumbent given").met is None


def test_of_packets_the_worst_counts() -> None:
    """The kind of packet that costs most against the same incumbent's is told; where nothing is tracked, none."""
    measures = Measures()
    for kind, ours, theirs, words in (
        ("UDP", 110.0, 100.0, "1 origin, tracked"),
        ("TCP data", 90.0, 100.0, "20 origins, tracked"),
        ("ICMP echo", 900.0, 100.0, "1 origin, not tracked"),
    ):
        what = names.paid(names.ACCEPTED, kind, 4, words)
        measures.add(names.PACKETS, what, OURS, 10_000, ours)
        measures.add(names.PACKETS, what, GIVEN, 10_000, theirs)
    passing = find(measures, "a packet that passes", "given")
    assert (passing.reached, passing.met) == (1.1, False)
    assert "UDP" in passing.note
    assert find(measures, "a packet that passes", "Debian's").met is None
    for kind, cost in (("TCP SYN", 50.0), ("UDP", 90.0)):
        what = names.paid(names.FLOOD, kind, 4, "1 origin, tracked")
        measures.add(names.PACKETS, what, OURS, 10_000, cost)
        measures.add(names.PACKETS, what, DEBIANS, 10_000, 100.0)
    assert find(measures, "a flood of connections", "Debian's").met
    assert find(measures, "a flood of anything", "Debian's").met is False
    measures.add(names.PACKETS, f"{names.LEFT}, UDP, IPv4, 1 origin, tracked", OURS, 10_000, 0)
    assert find(measures, "that a flood leaves").met
