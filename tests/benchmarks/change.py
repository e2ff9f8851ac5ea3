"""From the end of the poll's answer until the kernel has what it told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks.eye import wait_for
from tests.benchmarks.page import Ban, sample

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench
    from tests.benchmarks.contenders import Contender
    from tests.benchmarks.eye import Eye

PART = "one change"
POLL = 0.5
_LIMIT = 60.0
_LONGER = 2000  # hours of a renewed ban: others last for less than 200


def run(bench: Bench) -> None:
    """Fill each contender once, then give it one change after the other."""
    for size in bench.sizes:
        for contender in bench.contenders:
            if contender.name.startswith("curl"):
                continue
            eye = bench.fill(contender, size, POLL)
            if eye is None:
                bench.measures.add(PART, "ms, 1 added", contender.name, size, float("inf"), "never full")
                continue
            for turn in range(bench.times):
                _turn(bench, contender, eye, size, turn)
            contender.end()
            eye.close()


def _turn(bench: Bench, contender: Contender, eye: Eye, size: int, turn: int) -> None:
    for count in (1, 100, 10_000):
        new = _hosts(bench, count)
        _change(bench, contender, eye, size, f"ms, {count:,} added", new=new)
        if contender.can_renew:
            _change(bench, contender, eye, size, f"ms, {count:,} renewed", new=new, hours=_LONGER)
        _change(bench, contender, eye, size, f"ms, {count:,} deleted", deleted=new)
    if contender.masks:
        wide = [_wide(bench, size, turn)]
        _change(bench, contender, eye, size, "ms, a range over others added", new=wide, hours=1)
        _change(bench, contender, eye, size, "ms, a range over others deleted", deleted=wide)


def _change(  # noqa: PLR0913 - who, where, and the three things that can change
    bench: Bench,
    contender: Contender,
    eye: Eye,
    size: int,
    what: str,
    *,
    new: list[Ban] | None = None,
    deleted: list[Ban] | None = None,
    hours: int = 160,
) -> None:
    least = None if new is None else 1000.0 if hours == _LONGER else 0.0
    told = bench.tell(new or (), deleted or (), hours)
    chosen = sample(new or deleted or [])
    done = wait_for(eye, chosen, until=told + int(_LIMIT * 1e9), hours=least)
    if done is None:
        bench.measures.add(PART, what, contender.name, size, float("inf"), f"not within {_LIMIT:.0f} s")
    else:
        bench.measures.add(PART, what, contender.name, size, (done - told) / 1e6)
    time.sleep(0.1)


def _hosts(bench: Bench, count: int) -> list[Ban]:
    """Return new decisions on hosts; ranges are measured apart."""
    found: list[Ban] = []
    while len(found) < count:
        found += [each for each in bench.news(count + 5) if not each.is_range]
    return found[:count]


def _wide(bench: Bench, size: int, turn: int) -> Ban:
    """Return a /16 that holds some of the page's /24s, but none at its start: there it can be seen."""
    taken = {each.value for each in bench.bans(size) if each.is_range}
    free = [at for at in range(256) if f"64.{at}.0.0/24" not in taken]
    return Ban(90_000_000 + turn, f"64.{free[turn * 7 % len(free)]}.0.0/16")
