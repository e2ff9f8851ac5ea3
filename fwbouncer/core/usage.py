"""What the LAPI is yet to be told about packets: each is told once, whatever is lost on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fwbouncer.core.tally import Totals, since

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwbouncer.core.model import Family


@dataclass(frozen=True, slots=True)
class Window:
    """One report: what was counted from one second, since 1970, up to another."""

    since: int
    until: int
    grown: Totals
    banned: Mapping[tuple[str, Family], int] = field(default_factory=dict)  # by origin, at its end

    @property
    def seconds(self) -> int:
        """Its length; a clock that was set back makes none shorter than a second."""
        return max(1, self.until - self.since)


class Usage:
    """What has been told, up to when, and the report of which nobody knows whether it arrived."""

    def __init__(self, told: Totals, since: int, lost: Window | None = None) -> None:
        """`told` are the totals that count as known to the LAPI; `since` is in seconds since 1970."""
        self.told = told
        self.since = since
        self.lost = lost
        self._again = False

    def next(self, totals: Totals, banned: Mapping[tuple[str, Family], int], now: int) -> Window:
        """Return what to report. A report that may have arrived is repeated as it was, before there is another.

        CrowdSec takes reports of one time and with the same numbers for one, so that nothing counts twice.
        """
        if self.lost is not None:
            return self.lost
        until = now if now != self.since else now + 1
        return Window(self.since, until, since(totals, self.told), banned)

    def sending(self, window: Window) -> None:
        """Note that a report is about to leave: unless more is heard of it, it may have arrived."""
        self._again = self.lost is not None
        self.lost = window

    def taken(self, window: Window) -> None:
        """Note that the LAPI has the report."""
        for place, traffic in window.grown.items():
            before = self.told.get(place)
            self.told[place] = traffic if before is None else before.plus(traffic)
        self.since = window.until
        self.lost = None

    def unsent(self) -> None:
        """Note that it did not arrive this time. Where it was sent before, it may have arrived then."""
        if not self._again:
            self.lost = None

    def refused(self) -> None:
        """Note that the LAPI refuses what it says, so that it never took it."""
        self.lost = None
