"""How soon the kernel is right again: after a crash, whose bans are adopted, and after a flush."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks import page
from tests.benchmarks.bench import POLL, settle
from tests.benchmarks.contenders import Fwbouncer
from tests.benchmarks.names import ADOPTED, REPAIRED, WARM

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench
    from tests.benchmarks.seat import Seat

PART, HEADLINE = WARM, ADOPTED
_LIMIT = 300 * 10**9  # nanoseconds


def run(bench: Bench, seats: list[Seat], size: int) -> None:
    """Measure ours, taking turns: others start over, so that theirs is a cold start."""
    ours = [seat for seat in seats if isinstance(seat.contender, Fwbouncer)]
    for _, seat in bench.turns(ours, " starts again"):
        _adoption(bench, seat, size)
    for seat in ours:
        _own_nothing(bench, seat, size)
    for _, seat in bench.turns(ours, " repairs"):
        _repair(bench, seat, size)


def _adoption(bench: Bench, seat: Seat, size: int) -> None:
    """Kill it, let the LAPI know one ban more, and start it again."""
    time.sleep(2.0 + size / 500_000)  # the state file is written
    contender = seat.contender
    assert isinstance(contender, Fwbouncer)
    contender.bouncer.kill()
    new = bench.news(1)
    path = bench.folder / "grown.json"
    path.write_bytes(page.grown(bench.page(size).read_bytes(), new))
    seat.lapi.serve(path)
    began = time.monotonic_ns()
    contender.resume()
    done = seat.wait_for(new, until=began + _LIMIT)
    assert done, f"{seat.name}: the new ban never came"
    bench.measures.add(PART, ADOPTED, seat.name, size, (done - began) / 1e9)
    seat.lapi.next("nothing")


def _own_nothing(bench: Bench, seat: Seat, size: int) -> None:
    """Start it anew so that others can flush its tables: owned ones can't be."""
    contender = seat.contender
    assert isinstance(contender, Fwbouncer)
    contender.keeps = False
    began = seat.begin(bench.page(size), POLL)
    contender.keeps = True
    assert seat.wait_for(page.sample(bench.bans(size)), until=began + _LIMIT), f"{seat.name}: never full"
    time.sleep(2.0 + size / 200_000)
    seat.rest()
    settle(size)


def _repair(bench: Bench, seat: Seat, size: int) -> None:
    """Take everything out of the kernel behind its back."""
    for words in (("nft", "flush", "ruleset"), ("ipset", "flush")):
        seat.contender.host.run(*words)
    began = time.monotonic_ns()
    done = seat.wait_for(page.sample(bench.bans(size)), until=began + _LIMIT)
    assert done, f"{seat.name}: the bans never came back"
    bench.measures.add(PART, REPAIRED, seat.name, size, (done - began) / 1e9)
    time.sleep(1.0 + size / 500_000)
