"""Looks at large ipsets cheaply: the kernel counts a set's elements one by one whenever its header is asked for.

That takes some 13 ms of a million. So a large set is counted seldom, in proportion to its size, and between two counts
it is enough that an element is there that must be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.core.model import is_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fwbouncer.core.model import Element, Millis, SetChange
    from fwbouncer.kernel.ipset_list import Header

LARGE = 20_000  # elements; fewer are counted in a quarter of a millisecond
_PACE = 15  # elements for each millisecond until the next count: a five-thousandth of a processor's time
_FEW = 100  # of so many elements one changes: then the size hardly tells
_MARKS = 16
_SURE: Millis = 60_000  # how long a mark must last at least


class Glance:
    """What is known of one set. `header` is the one that was read last; its count may be old."""

    def __init__(self) -> None:
        self.header: Header | None = None
        self._marks: dict[Element, Millis] = {}  # elements that must be there, and until when
        self._due: Millis = 0

    def wrote(self, change: SetChange, now: Millis) -> None:
        """Note what is in the set from now on, and what isn't."""
        if self._marks:
            for element in (*change.remove, *(element for element, _ in change.renew)):
                self._marks.pop(element, None)
        self.mark([*change.add[:_MARKS], *change.renew[:_MARKS]], now)

    def mark(self, held: Iterable[tuple[Element, Millis]], now: Millis) -> None:
        """Keep some of these in mind; a network can't be looked up by itself."""
        for element, end in held:
            if end > now + _SURE and not is_range(element) and len(self._marks) < _MARKS:
                self._marks[element] = end

    def counted(self, count: int, now: Millis) -> None:
        """Note that the set was counted."""
        self._due = now + count // _PACE

    def enough(self, holds: Callable[[Element], bool], now: Millis) -> bool:
        """Tell whether one element's being there is all that must be known for now."""
        if now >= self._due:
            return False
        self._marks = {element: end for element, end in self._marks.items() if end > now + _SURE // 2}
        mark = next(iter(self._marks), None)
        return mark is not None and holds(mark)


def small(change: SetChange, count: int) -> bool:
    """Tell whether a change is so small beside a large set that counting it anew can wait."""
    return count >= LARGE and len(change) * _FEW <= count
