"""What it costs to be there while nothing happens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks.costs import fine_cpu, peak, pss, wakeups

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench
    from tests.benchmarks.contenders import Contender

PART = "idle"
POLL = 1.0
CPU, WAKEUPS, REST, PEAK = "CPU ms a poll", "wake-ups a second", "MB at rest (PSS)", "MB at peak"


def run(bench: Bench) -> None:
    """Fill each contender once, let it come to rest, and watch it through some polls with nothing new."""
    for size in bench.sizes:
        for contender in bench.contenders:
            if contender.name.startswith("curl"):
                continue
            eye = bench.fill(contender, size, POLL)
            if eye is None:
                continue
            eye.close()
            time.sleep(5.0)
            for _ in range(bench.times):
                _look(bench, contender, size)
            bench.measures.add(PART, REST, contender.name, size, pss(contender.pid))
            bench.measures.add(PART, PEAK, contender.name, size, peak(contender.pid))
            contender.end()


def _look(bench: Bench, contender: Contender, size: int) -> None:
    polls = 5
    bench.lapi.forget()
    bench.lapi.next("nothing")  # begin right behind a poll
    time.sleep(0.1)
    cpu, woken, began = fine_cpu(contender.pid), wakeups(contender.pid), time.monotonic()
    time.sleep(polls * POLL)
    took = time.monotonic() - began
    spent = (fine_cpu(contender.pid) - cpu) * 1000 / (took / POLL)
    bench.measures.add(PART, CPU, contender.name, size, spent)
    bench.measures.add(PART, WAKEUPS, contender.name, size, (wakeups(contender.pid) - woken) / took)
