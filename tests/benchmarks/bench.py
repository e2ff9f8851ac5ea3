"""What all benchmarks share: contenders at their seats, the pages, the patience and the results of one run."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import page
from tests.benchmarks.names import COLD, SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.benchmarks.measure import Measures
    from tests.benchmarks.page import Ban
    from tests.benchmarks.seat import Seat
    from tests.benchmarks.static_lapi import StaticLapi
    from tests.lab.net import Host

POLL = 0.1  # seconds from one poll's answer to the next poll; the LAPI holds what has nothing new
SLOW = 60.0  # seconds; what takes longer is measured twice, not five times
_BYTES = 3_000  # that a ban takes at its peak, in a contender and in the kernel
_MEMORY = Path("/proc/meminfo")


@dataclass
class Bench:
    """One run. `host` and its LAPI are nobody's: there the kernel's own time is measured."""

    host: Host
    lapi: StaticLapi
    folder: Path
    seats: list[Seat]
    measures: Measures
    sizes: tuple[int, ...]
    times: int = 5  # how often each thing is measured
    limit: float = 60.0  # seconds after which a start is cut off
    tell: Callable[[str], None] = lambda _: None  # is told what is being done
    _bans: dict[int, list[Ban]] = field(default_factory=dict)
    _news: int = 50_000_000

    def bans(self, size: int) -> list[Ban]:
        """Return the decisions of the page of that size."""
        if size not in self._bans:
            self._bans = {size: page.bans(size)}  # a million of them takes 150 MB: one list at a time
        return self._bans[size]

    def page(self, size: int) -> Path:
        """Return the file with the page of that size."""
        path = self.folder / f"page-{size}.json"
        if not path.exists():
            path.write_bytes(page.page(self.bans(size)))
        return path

    def news(self, count: int) -> list[Ban]:
        """Return decisions on hosts that nobody has seen yet; ranges are measured apart."""
        found: list[Ban] = []
        while len(found) < count:
            found += [each for each in page.bans(count + 5, self._news) if not each.is_range]
            self._news += count + 5
        return found[:count]

    def change(
        self, seat: Seat, new: Iterable[Ban] = (), deleted: Iterable[Ban] = (), hours: int = 160
    ) -> int:
        """Let a seat's LAPI tell this at the next poll; returns when its answer had gone out."""
        path = self.folder / "delta.json"
        path.write_bytes(page.page(new, deleted, hours))
        seat.lapi.forget()
        seat.lapi.serve_once(path)
        return seat.lapi.next("delta").ended

    def enough(self, part: str, what: str, who: str, size: int) -> bool:
        """Tell whether something was measured as often as it shall be."""
        measure = self.measures.find(part, what, who, size)
        if measure is None:
            return False
        slow = math.isinf(measure.median) or measure.median > SLOW
        return len(measure.values) >= (min(2, self.times) if slow else self.times)

    def expected(self, who: str, size: int) -> float:
        """Return the seconds that a start will take at least, by what was seen so far; 0 where nothing was."""
        starts = [m for m in self.measures.of(COLD, SECONDS) if m.who == who and m.size <= size]
        found = [m.median * size / m.size for m in starts if m.values]
        return found[-1] if found and starts[-1].median > 1.0 else 0.0

    def turns(self, seats: list[Seat], deed: str = "") -> Iterator[tuple[int, Seat]]:
        """Wake each of these, as often as a thing is measured; yields the turn's number and who is awake."""
        for turn in range(self.times):
            for seat in seats:
                self.tell(f"turn {turn + 1}: {seat.name}{deed}")
                with seat.awake():
                    yield turn, seat

    def groups(self, size: int) -> Iterator[list[Seat]]:
        """Yield the seats that can be full at once: all, or each alone where memory doesn't do for all."""
        seats = [each for each in self.seats if each.contender.stays]
        if size * _BYTES * len(seats) < _available():
            yield seats
            return
        self.tell(f"too little memory for {len(seats)} with {size:,} bans each: one after the other")
        self.measures.remark(f"{size:,} bans: contenders measured one after the other, for want of memory")
        yield from ([each] for each in seats)

    def fill(self, seats: list[Seat], size: int) -> tuple[list[Seat], dict[str, str]]:
        """Fill these, one after the other; returns those that are full, at rest, and why the others aren't."""
        full, others = [], {}
        for seat in seats:
            self.tell(f"filling {seat.name} with {size:,}")
            expected = self.expected(seat.name, size)
            if expected > self.limit:
                others[seat.name] = f"left out: a start takes {expected:,.0f} s or more"
            elif self._fill(seat, size):
                full.append(seat)
            else:
                seat.clear()
                others[seat.name] = f"left out: not full within {self.limit:.0f} s"
        settle(size)
        return full, others

    def _fill(self, seat: Seat, size: int) -> bool:
        began = seat.begin(self.page(size), POLL)
        chosen = page.sample(self.bans(size))
        if seat.wait_for(chosen, until=began + int(1.5 * self.limit * 1e9)) is None:
            return False
        time.sleep(2.0 + size / 200_000)  # what it does after the work belongs to the work
        seat.rest()
        return True


def settle(size: int) -> None:
    """Wait until the kernel has freed what was thrown away, which it does later by itself."""
    for _ in range(3 + size // 50_000):
        before = _busy()
        time.sleep(0.2)
        if _busy() - before < 5:  # ticks of 10 ms, of all processors
            return


def _busy() -> int:
    words = Path("/proc/stat").read_text().split(maxsplit=9)
    user, nice, system, _, _, irq, soft = map(int, words[1:8])
    return user + nice + system + irq + soft


def _available() -> int:
    line = next(each for each in _MEMORY.read_text().splitlines() if each.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024
