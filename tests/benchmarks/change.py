"""From the end of the poll's answer until the kernel has what it told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks.names import ADDED, CHANGE, DELETED, RENEWED, WIDE_ADDED, WIDE_DELETED, changed
from tests.benchmarks.page import Ban, sample

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench
    from tests.benchmarks.seat import Seat

PART, HEADLINE = CHANGE, changed(1, ADDED)
COUNTS = (1, 100, 10_000)
_LIMIT = 60.0  # seconds
_SLOW = 5000.0  # ms; what takes longer is measured twice, not five times
_LONGER = 2000  # hours of a renewed ban: others last for less than 200


def run(bench: Bench, seats: list[Seat], size: int) -> None:
    """Give each contender one change after the other, taking turns."""
    for turn, seat in bench.turns(seats):
        _turn(bench, seat, size, turn)


def _turn(bench: Bench, seat: Seat, size: int, turn: int) -> None:
    for count in COUNTS:
        if _too_slow(bench, seat, size, count):
            continue
        new = bench.news(count)
        _change(bench, seat, size, changed(count, ADDED), new=new)
        if seat.contender.can_renew:
            _change(bench, seat, size, changed(count, RENEWED), new=new, hours=_LONGER)
        _change(bench, seat, size, changed(count, DELETED), deleted=new)
    if seat.contender.masks:
        wide = [_wide(bench, size, turn)]
        _change(bench, seat, size, WIDE_ADDED, new=wide, hours=1)
        _change(bench, seat, size, WIDE_DELETED, deleted=wide)


def _too_slow(bench: Bench, seat: Seat, size: int, count: int) -> bool:
    """Tell whether so many can't be through in time, as fewer took too long, or were slow twice already."""
    known = bench.measures.find(PART, changed(count, ADDED), seat.name, size)
    if known is not None and len(known.values) >= 2:
        return known.median > _SLOW
    fewer = bench.measures.find(PART, changed(100, ADDED), seat.name, size)
    if count <= 100 or fewer is None or fewer.median * count / 100 < _LIMIT * 1000:
        return False
    bench.measures.note(
        PART, changed(count, ADDED), seat.name, size, f"not tried: 100 take {fewer.median:,.0f} ms"
    )
    return True


def _change(  # noqa: PLR0913 - who, where, and the three things that can change
    bench: Bench,
    seat: Seat,
    size: int,
    what: str,
    *,
    new: list[Ban] | None = None,
    deleted: list[Ban] | None = None,
    hours: int = 160,
) -> None:
    least = None if new is None else 1000.0 if hours == _LONGER else 0.0
    told = bench.change(seat, new or (), deleted or (), hours)
    chosen = sample(new or deleted or [])
    done = seat.wait_for(chosen, until=told + int(_LIMIT * 1e9), hours=least)
    if done is None:
        bench.measures.add(PART, what, seat.name, size, float("inf"), f"not within {_LIMIT:.0f} s")
    else:
        bench.measures.add(PART, what, seat.name, size, (done - told) / 1e6)
    time.sleep(0.1)


def _wide(bench: Bench, size: int, turn: int) -> Ban:
    """Return a /16 that holds some of the page's /24s, but none at its start: there it can be seen."""
    taken = {each.value for each in bench.bans(size) if each.is_range}
    free = [at for at in range(256) if f"64.{at}.0.0/24" not in taken]
    return Ban(90_000_000 + turn, f"64.{free[turn * 7 % len(free)]}.0.0/16")
