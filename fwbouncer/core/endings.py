"""When which row runs out: far ones by windows of time, and only the near ones in order."""

from __future__ import annotations

import heapq
from array import array
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fwbouncer.core.model import Millis

_WINDOW = 19  # bits: some nine minutes


class Endings:
    """Rows by deadline. One whose deadline changed is filed once more, and the old entry counts for nothing."""

    def __init__(self) -> None:
        self._later: defaultdict[int, array[int]] = defaultdict(partial(array, "i"))
        self._soon: list[tuple[Millis, int]] = []

    def add(self, row: int, deadline: Millis) -> None:
        """File a row."""
        self._later[deadline >> _WINDOW].append(row)

    def fill(self, deadlines: Iterable[Millis]) -> None:
        """File rows 0, 1, … with these deadlines."""
        later = self._later
        for row, deadline in enumerate(deadlines):
            later[deadline >> _WINDOW].append(row)

    def due(self, deadlines: Sequence[Millis], now: Millis) -> Iterator[int]:
        """Yield the rows whose deadline, as `deadlines` has it, has come; perhaps one more than once."""
        for window in [w for w in self._later if w << _WINDOW <= now + (1 << _WINDOW)]:
            for row in self._later.pop(window):
                if deadlines[row] >> _WINDOW == window:
                    heapq.heappush(self._soon, (deadlines[row], row))
        while self._soon and self._soon[0][0] <= now:
            deadline, row = heapq.heappop(self._soon)
            if deadlines[row] == deadline:
                yield row

    def before(self, then: Millis) -> int:
        """Count the entries up to a time not far behind that of the last call of `due`."""
        return sum(deadline <= then for deadline, _ in self._soon)

    def next(self) -> Millis | None:
        """Return a time at which `due` may have something to do; never later than the next deadline."""
        times = [self._soon[0][0]] if self._soon else []
        if self._later:  # a window is opened by the time the one before it begins
            times.append((min(self._later) - 1) << _WINDOW)
        return min(times, default=None)
