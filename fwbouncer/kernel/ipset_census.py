"""Notices that somebody emptied or filled an ipset: nothing tells, but a set's size is cheap to ask for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fwbouncer.core.model import FOREVER, Millis

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHIFT = 12  # ends are counted in windows of some four seconds
# Kernel timeouts are whole seconds, and listing takes a moment: an element may go one window early or late.
_SLACK = 1


class Census:
    """How many elements a set must still have: between two changes of ours only timeouts make it smaller."""

    def __init__(self) -> None:
        self._count = 0
        self._more = self._fewer = 0  # by how much changes of ours may have moved the count since
        self._since: Millis = 0
        self._ends: Counter[int] = Counter()

    def restart(self, deadlines: Iterable[Millis], count: int, now: Millis) -> None:
        """Start over from a list of the whole set."""
        self._ends.clear()
        self.expect(deadlines)
        self.settle(count, now)

    def expect(self, deadlines: Iterable[Millis]) -> None:
        """Note when elements that were just written end.

        What they replaced stays noted: the census is less strict when that would have ended, never wrong.
        """
        self._ends.update(deadline >> _SHIFT for deadline in deadlines if deadline < FOREVER)

    def settle(self, count: int, now: Millis) -> None:
        """Take a count as the right one."""
        self._count = count
        self._more = self._fewer = 0
        self._since = now

    @property
    def most(self) -> int:
        """Return how many elements there may be, if nobody else put any in."""
        return self._count + self._more

    def changed(self, came: int, perhaps: int, went: int) -> None:
        """Note a change of ours: what came; what came unless it was there; what went if it was."""
        self._count += came
        self._more += perhaps
        self._fewer += went

    def check(self, count: int, now: Millis) -> str | None:
        """Compare a fresh count; says what is wrong with it. A right one is where the next check starts."""
        first, last = (self._since >> _SHIFT) - _SLACK, (now >> _SHIFT) + _SLACK
        if last - first < 64:
            ending = sum(self._ends[window] for window in range(first, last + 1))
        else:  # the machine was asleep, or nobody called for minutes
            ending = sum(n for window, n in self._ends.items() if first <= window <= last)
        if count < self._count - self._fewer - ending:
            return "was emptied" if count == 0 else f"lost {self._count - count} elements"
        if count > self.most:
            return f"has {count - self.most} elements that are not ours"
        self.settle(count, now)
        for window in [w for w in range(first - 64, first) if w in self._ends]:
            del self._ends[window]
        return None
