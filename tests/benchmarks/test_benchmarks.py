"""The benchmarks themselves, on few bans: that they run, and that what they ask the kernel is so."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks import change, cold, idle, names, packets, page, plot, report
from tests.benchmarks.bench import Bench
from tests.benchmarks.contenders import Fwbouncer, OneLiner
from tests.benchmarks.eye import share, wait_for
from tests.benchmarks.measure import Measures, growth, steepest
from tests.benchmarks.seat import Seat
from tests.benchmarks.static_lapi import StaticLapi
from tests.lab import witness
from tests.lab.net import lone_host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 300


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Set up a run with two contenders, the smallest that there is."""
    with contextlib.ExitStack() as stack:
        hosts = [stack.enter_context(lone_host(role)) for role in ("none", "ours", "line")]
        lapis = [stack.enter_context(contextlib.closing(StaticLapi(host))) for host in hosts]
        contenders = [Fwbouncer(hosts[1], tmp_path, "nftables"), OneLiner(hosts[2], tmp_path)]
        seats = [Seat(*each) for each in zip(contenders, lapis[1:], strict=True)]
        for seat in seats:
            stack.callback(seat.close)
        yield Bench(hosts[0], lapis[0], tmp_path, seats, Measures(), (SIZE,), times=1, limit=60)


def test_a_cold_start_is_measured_and_reported(bench: Bench, tmp_path: Path) -> None:
    """Every contender's start has its time, processor time and peak of memory, in table, JSON and plot."""
    cold.run(bench, SIZE)
    report.write(tmp_path, report.machine(), bench.measures)
    plot.write(tmp_path / "bench.svg", bench.measures)
    for name in ("fwbouncer nftables", "curl | jq | nft"):
        for what in (names.SECONDS, names.CPU_SECONDS, names.PEAK):
            measure = bench.measures.find(names.COLD, what, name, SIZE)
            assert measure
            assert not measure.note, measure
            assert measure.median > 0
            assert name.replace("|", "\\|") in (tmp_path / "bench.md").read_text()
        assert name in (tmp_path / "bench.json").read_text()
        assert name in (tmp_path / "bench.svg").read_text()


def test_who_is_full_is_measured_awake_and_rests_otherwise(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle cost and changes are measured on a contender that is full; while others are, its process is stopped."""
    seats, others = bench.fill(bench.seats[:1], SIZE)
    assert not others
    assert seats[0].contender.state() == "T"
    with seats[0].awake():
        assert seats[0].contender.state() != "T"
    assert seats[0].contender.state() == "T"
    monkeypatch.setattr(change, "COUNTS", (1,))
    monkeypatch.setattr(idle, "POLLS", 1)
    idle.run(bench, seats, SIZE)
    change.run(bench, seats, SIZE)
    for part, what in (
        (idle, names.CPU_A_POLL),
        (idle, names.REST),
        (change, change.HEADLINE),
        (change, names.WIDE_ADDED),
    ):
        measure = bench.measures.find(part.PART, what, "fwbouncer nftables", SIZE)
        assert measure
        assert 0 < measure.median < float("inf"), measure


def test_packets_are_dropped_where_somebody_bans_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with bans drops a flood before tracking, so that it costs less than on a host without rules."""
    monkeypatch.setattr(packets, "CASES", {False: (packets.Case(SIZE, 2, tracked=True),)})
    monkeypatch.setattr(packets, "KINDS", ("TCP SYN",))
    packets.run(bench)
    words = names.paid(names.FLOOD, "TCP SYN", 4, packets.Case(SIZE, 2, tracked=True).words)
    paid = {m.who: m.median for m in bench.measures.of(packets.PART, words)}
    assert paid["fwbouncer nftables"] < paid[packets.NOBODY]
    left = [m for m in bench.measures.of(packets.PART) if m.what.startswith(names.LEFT)]
    assert {m.median for m in left if m.who == "fwbouncer nftables"} == {0}


def test_what_is_seen_is_what_a_list_shows(bench: Bench) -> None:
    """The eye sees every ban of a page that nft lists, and none that isn't there; all are there at the end."""
    [ours], _ = bench.fill(bench.seats[:1], SIZE)
    eye, bans = ours.eye, bench.bans(SIZE)
    assert share(eye, bans) == 1.0
    assert share(eye, page.bans(50, SIZE + 1)) == 0.0
    host = ours.contender.host
    listed = sum(len(witness.elements(host, number)) for number in (4, 6))
    assert listed == SIZE
    began = time.monotonic_ns()
    assert wait_for(eye, page.bans(1, 10**7), until=began + 10**7) is None
    assert wait_for(eye, page.bans(1, 10**7), until=began + 10**9, hours=None)


def test_a_page_bans_as_many_as_it_says() -> None:
    """No two decisions of a page ban the same; one in a hundred is a range, one in five is IPv6."""
    bans = page.bans(100_000)
    assert len({each.value for each in bans}) == len(bans)
    assert sum(each.is_range for each in bans) == 1000
    assert sum(each.family == 6 for each in bans) == pytest.approx(20_000, rel=0.02)


def test_growth_is_the_exponent() -> None:
    """Twice as many in twice the time is n^1, in four times the time n^2."""
    assert growth([(n, 3.0 * n) for n in (10, 100, 1000)]) == pytest.approx(1.0)
    assert growth([(n, 0.1 * n * n) for n in (10, 100)]) == pytest.approx(2.0)
    assert growth([(10, 1.0)]) is None
    assert steepest([(10, 1.0), (100, 10.0), (1000, 1000.0)]) == pytest.approx(2.0)
