"""How soon the kernel is right again: after a crash, whose bans are adopted, and after a flush."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks import page
from tests.benchmarks.contenders import Fwbouncer, wipe
from tests.benchmarks.eye import wait_for

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

PART = "warm start"
ADOPTED, REPAIRED = "seconds until a new ban, after a crash", "seconds until all is back, after a flush"
_LIMIT = 300


def run(bench: Bench) -> None:
    """Measure ours, with a table of its own and, where it can be flushed, without."""
    ours = [each for each in bench.contenders if isinstance(each, Fwbouncer)]
    for size in bench.sizes:
        for contender in ours:
            _adoption(bench, contender, size)
            _repair(bench, contender, size)


def _adoption(bench: Bench, contender: Fwbouncer, size: int) -> None:
    """Kill it, let the LAPI know one ban more, and start it again."""
    eye = bench.fill(contender, size, 10.0)
    assert eye, f"{contender.name} was never full"
    try:
        for _ in range(bench.times):
            time.sleep(2.0)  # the state file is written
            contender.bouncer.kill()
            new = [each for each in bench.news(10) if not each.is_range][:1]
            path = bench.folder / "grown.json"
            path.write_bytes(page.page([*bench.bans(size), *new]))
            bench.lapi.serve(path)
            began = time.monotonic_ns()
            contender.resume()
            done = wait_for(eye, new, until=began + _LIMIT * 10**9)
            assert done, "the new ban never came"
            bench.measures.add(PART, ADOPTED, contender.name, size, (done - began) / 1e9)
            time.sleep(1.0 + size / 500_000)
    finally:
        contender.end()
        eye.close()


def _repair(bench: Bench, contender: Fwbouncer, size: int) -> None:
    """Take everything out of the kernel behind its back; owned tables can't be, so this one owns none."""
    bench.lapi.serve(bench.page(size))
    wipe(bench.host)
    contender.keeps = False
    contender.start()
    contender.keeps = True
    eye, chosen = contender.eye(), page.sample(bench.bans(size))
    try:
        assert wait_for(eye, chosen, until=time.monotonic_ns() + _LIMIT * 10**9), "never full"
        for _ in range(bench.times):
            time.sleep(3.0 + size / 200_000)
            for words in (("nft", "flush", "ruleset"), ("ipset", "flush")):
                bench.host.run(*words)
            began = time.monotonic_ns()
            done = wait_for(eye, chosen, until=began + _LIMIT * 10**9)
            assert done, "the bans never came back"
            bench.measures.add(PART, REPAIRED, contender.name, size, (done - began) / 1e9)
    finally:
        contender.end()
        eye.close()
