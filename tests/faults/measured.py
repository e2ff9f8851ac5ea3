"""The model, and how well the program does within what is tolerated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.model import Model

if TYPE_CHECKING:
    from tests.faults.terms import Address


class MeasuredModel(Model):
    """Tells of packets in times of tolerance how many seconds of it they took."""

    def unbitten(self, source: Address, begin: float) -> float:
        """Return for how long a packet's source should have been blocked already; 0 if it need not."""
        if self._excused(begin, begin):
            return 0.0
        run, edge = self._clock.at(begin), self.tolerance.early
        told = [c.told for c in self._of(source) if c.ended is None and begin < c.until - edge]
        return max((run - since for since in told if since is not None), default=0.0)

    def unrepaired_for(self, source: Address, begin: float) -> float:
        """Return for how long others' change has let a packet through; 0 if it has nothing to do with that."""
        run = self._clock.at(begin)
        pending = any(
            e.until is not None and not e.empty and e.since <= begin and run <= e.until for e in self._excuses
        )
        held = any(
            c.held and c.ended is None and begin < c.until - self.tolerance.early for c in self._of(source)
        )
        return max(0.0, run - self._over) if pending and held else 0.0

    def overstayed(self, source: Address, begin: float) -> float:
        """Return for how long a blocked packet's source should have been free again."""
        if self._excused(begin, begin):
            return 0.0
        claims = self._of(source)
        if any(c.ended is not None and begin < c.until + 1 for c in claims):
            return 0.0
        ends = [c.until + c.lag for c in claims]
        return max(0.0, begin - max(ends)) if ends else 0.0
