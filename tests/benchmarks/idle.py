"""What it costs to be there while nothing happens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks.costs import fine_cpu, peak, pss, wakeups
from tests.benchmarks.names import CPU_A_POLL, HIGHEST, IDLE, REST, WAKEUPS

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench
    from tests.benchmarks.seat import Seat

PART, HEADLINE = IDLE, CPU_A_POLL
POLLS = 5


def run(bench: Bench, seats: list[Seat], size: int) -> None:
    """Watch each through some polls with nothing new, taking turns."""
    for _, seat in bench.turns(seats):
        _look(bench, seat, size)
    for seat in seats:
        bench.measures.add(PART, HIGHEST, seat.name, size, peak(seat.contender.pid))


def _look(bench: Bench, seat: Seat, size: int) -> None:
    pid = seat.contender.pid
    time.sleep(0.05)  # the answer is read
    cpu, woken = fine_cpu(pid), wakeups(pid)
    seat.lapi.forget()
    for _ in range(POLLS):
        seat.lapi.next("nothing")
    time.sleep(0.05)
    for what, spent in ((CPU_A_POLL, (fine_cpu(pid) - cpu) * 1000), (WAKEUPS, wakeups(pid) - woken)):
        bench.measures.add(PART, what, seat.name, size, spent / POLLS)
    bench.measures.add(PART, REST, seat.name, size, pss(pid))
