"""From the start of the process until the last element is in the kernel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks import floor
from tests.benchmarks.contenders import wipe
from tests.benchmarks.costs import Watcher
from tests.benchmarks.eye import share, wait_for
from tests.benchmarks.page import sample

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench
    from tests.benchmarks.contenders import Contender

PART = "cold start"
SECONDS, CPU, PEAK = "seconds", "CPU seconds", "MB at peak"
FLOOR = "kernel alone"
UNAVOIDABLE = "unavoidable"  # interpreter and imports, LAPI, json.loads, kernel


def run(bench: Bench) -> None:
    """Measure all contenders, taking turns; one that was cut off has no second turn."""
    for size in bench.sizes:
        bench.lapi.serve(bench.page(size))
        cut_off: set[str] = set()
        for _ in range(bench.times):
            _unavoidable(bench, size)
            for contender in bench.contenders:
                if contender.name not in cut_off and not _one(bench, contender, size):
                    cut_off.add(contender.name)


def _one(bench: Bench, contender: Contender, size: int) -> bool:
    """Measure one start; returns whether it was done within the limit."""
    wipe(bench.host)
    chosen = sample(bench.bans(size))
    began = time.monotonic_ns()
    contender.start()
    watcher = Watcher(contender.pid)
    eye = contender.eye()
    done = wait_for(eye, chosen, until=began + int(bench.limit * 1e9))
    peak, cpu = watcher.end()
    note = ""
    seconds = ((done or time.monotonic_ns()) - began) / 1e9
    if done is None:
        there = share(eye, chosen)
        note = f"cut off after {seconds:.0f} s with {there:.0%} there, extrapolated"
        seconds, cpu = (each / there if there else float("inf") for each in (seconds, cpu))
    for what, value in ((SECONDS, seconds), (CPU, cpu), (PEAK, peak)):
        bench.measures.add(PART, what, contender.name, size, value, note)
    contender.end()
    eye.close()
    return done is not None


def _unavoidable(bench: Bench, size: int) -> None:
    """Measure what every bouncer in Python has to bear."""
    wipe(bench.host)
    kernel = floor.kernel(bench.host, bench.folder, bench.bans(size))
    wipe(bench.host)
    parts = {
        FLOOR: kernel,
        "interpreter and imports": floor.imports(),
        "the LAPI's answer": floor.serving(bench.host),
        "json.loads": floor.parsing(bench.page(size)),
    }
    for who, seconds in {**parts, UNAVOIDABLE: sum(parts.values())}.items():
        bench.measures.add(PART, SECONDS, who, size, seconds)
