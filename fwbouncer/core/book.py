"""All that is known, in one place: what the LAPI said, what must be in the kernel, what is there.

Nothing is written to the kernel before the first page: until then nobody can tell a stale ban from a good one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwbouncer.core.delta import Delta
from fwbouncer.core.ledger import Ledger
from fwbouncer.core.model import (
    ONE_GROUP,
    Change,
    Family,
    Holding,
    Label,
    Layout,
    Millis,
    Page,
    family_of,
)
from fwbouncer.core.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable

# A snapshot that lacks more than this share of what is banned isn't believed at once: when the LAPI's database fails
# halfway, the LAPI closes the page properly and says nothing.
_SHARP = 0.25


@dataclass(frozen=True, slots=True)
class Taken:
    """What a page changed."""

    added: int
    ended: int
    missing: int = (
        0  # claims that a snapshot lacked and that stay for now, until a second one lacks them, too
    )
    doubtful: bool = False  # see Ledger.absorb


class Book:
    """Ledger, wanted sets and differences, moved along together. `folded` families have one set for all groups."""

    def __init__(self, folded: Iterable[Family] = ()) -> None:
        self.ledger = Ledger()
        self.delta = Delta()
        self.wanted = Wanted(self.ledger, Layout(flatten=True))
        self.synced = False
        self.rejects: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self._folded = frozenset(folded)
        self._labels: dict[Label, Label] = {}
        self._suspects: set[int] = set()

    def take(self, page: Page, now: Millis) -> Taken:
        """Take in a page. What a snapshot lacks goes at once if that is little, else once two snapshots lack it."""
        self._fold(page)
        if page.startup:
            self.rejects.clear()
            self.ignored.clear()
        self.rejects += page.rejects
        self.ignored += page.ignored
        ledger = self.ledger
        before = len(ledger)
        begun, over = ledger.begun, ledger.over
        doubtful = ledger.absorb(page, now)
        kept = self._settle_missing(page, before, now) if page.startup else 0
        self.expire(now)
        self.synced = True
        return Taken(ledger.begun - begun, ledger.over - over, kept, doubtful)

    def expire(self, now: Millis) -> None:
        """Let go of what has run out."""
        self.ledger.expire(now)
        self.delta.note(self.wanted.settle())

    def rebase(self, holding: Holding, layout: Layout, now: Millis) -> int:
        """Start over from what the kernel was found to hold; returns in how many elements it is off."""
        if layout != self.wanted.layout:
            self.wanted = Wanted(self.ledger, layout)
        self.wanted.settle()
        return self.delta.rebase(holding, self.wanted, layout, now)

    def plan(self, now: Millis) -> Change:
        """Say what the kernel must be told now."""
        return self.delta.plan(self.wanted, now)

    def done(self, change: Change) -> None:
        """Note that the kernel was told."""
        self.delta.commit(change, self.wanted)

    def _settle_missing(self, page: Page, before: int, now: Millis) -> int:
        missing = self.ledger.missing(page, now)
        if len(missing) <= _SHARP * before:
            self.ledger.drop(missing)
            self._suspects.clear()
            return 0
        confirmed = self._suspects.intersection(missing)
        self.ledger.drop(confirmed)
        self._suspects = set(missing) - confirmed
        return len(self._suspects)

    def _fold(self, page: Page) -> None:
        """Give every decision of a folded family the one group that there is."""
        if not self._folded:
            return
        for row, key in enumerate(page.keys):
            if family_of(key) in self._folded:
                label = page.labels[row]
                folded = self._labels.get(label)
                if folded is None:
                    folded = Label(label.origin, label.scenario, label.type, ONE_GROUP)
                    if len(self._labels) > 4096:  # scenarios are free text; this only saves memory
                        self._labels.clear()
                    self._labels[label] = folded
                page.labels[row] = folded
