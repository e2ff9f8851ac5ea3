"""From the start of the process until the last element is in the kernel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks import floor
from tests.benchmarks.bench import settle
from tests.benchmarks.contenders import wipe
from tests.benchmarks.costs import Watcher
from tests.benchmarks.eye import share
from tests.benchmarks.names import COLD, CPU_SECONDS, PEAK, PIECES, SECONDS, UNAVOIDABLE
from tests.benchmarks.page import sample

if TYPE_CHECKING:
    from fwbouncer.kernel.wire import Message
    from tests.benchmarks.bench import Bench
    from tests.benchmarks.seat import Seat

_LOOK = 30.0  # seconds for which those that can't be done in time are watched
_POLL = 10.0


def run(bench: Bench, size: int) -> None:
    """Measure all contenders, taking turns; one that was cut off has no second turn."""
    bench.lapi.serve(bench.page(size))
    prepared = floor.prepared(bench.folder, bench.bans(size))
    cut_off: set[str] = set()
    for turn in range(bench.times):
        bench.tell(f"turn {turn + 1}: the unavoidable")
        _unavoidable(bench, size, prepared)
        for seat in bench.seats:
            if seat.name in cut_off or bench.enough(COLD, SECONDS, seat.name, size):
                continue
            bench.tell(f"turn {turn + 1}: {seat.name}")
            if not _one(bench, seat, size):
                cut_off.add(seat.name)


def _one(bench: Bench, seat: Seat, size: int) -> bool:
    """Measure one start; returns whether it was done within the limit."""
    limit = bench.limit
    if bench.expected(seat.name, size) > limit:
        limit = min(limit, _LOOK)
    page = bench.page(size)
    began = seat.begin(page, _POLL)
    watcher = Watcher(seat.contender.pid)
    done = seat.wait_for(sample(bench.bans(size)), until=began + int(limit * 1e9))
    peak, cpu = watcher.end()
    note = ""
    seconds = ((done or time.monotonic_ns()) - began) / 1e9
    if done is None:
        there = share(seat.eye, sample(bench.bans(size), 4000))
        note = f"cut off after {seconds:.0f} s with {there:.1%} there, extrapolated"
        seconds, cpu = (each / there if there else float("inf") for each in (seconds, cpu))
    for what, value in ((SECONDS, seconds), (CPU_SECONDS, cpu), (PEAK, peak)):
        bench.measures.add(COLD, what, seat.name, size, value, note)
    seat.clear()
    settle(size)
    return done is not None


def _unavoidable(bench: Bench, size: int, prepared: list[Message]) -> None:
    """Measure what every bouncer in Python has to bear."""
    kernel = floor.kernel(bench.host, prepared)
    wipe(bench.host)
    settle(size)
    seconds = (floor.imports(), floor.serving(bench.host), floor.parsing(bench.page(size)), kernel)
    for who, value in zip((*PIECES, UNAVOIDABLE), (*seconds, sum(seconds)), strict=True):
        bench.measures.add(COLD, SECONDS, who, size, value)
