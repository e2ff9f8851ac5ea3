"""All that is known, in one place: what the LAPI said, what must be in the kernel, what is there.

No ban is written to the kernel before there is a page, from the LAPI or from the state file: until then nobody can
tell a stale ban from a good one. And until the LAPI itself has spoken, no ban is taken out of the kernel.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwbouncer.core.adopt import strangers
from fwbouncer.core.delta import Delta
from fwbouncer.core.doubt import Doubt
from fwbouncer.core.ledger import Ledger
from fwbouncer.core.model import (
    NEVER_BLOCK,
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
from fwbouncer.core.never import NeverBlock
from fwbouncer.core.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from fwbouncer.core.model import AddressKey
    from fwbouncer.core.sorting import Sorting


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
        self.never = NeverBlock()
        self.wanted = Wanted(self.ledger, Layout(flatten=True))
        self.synced = False
        self.rejects: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self._folded = frozenset(folded)
        self._labels: dict[Label, Label] = {}
        self._doubt = Doubt()
        self._provisional = False  # what is known comes from the state file alone
        self._compared = False  # the kernel's sets have been looked at once

    @property
    def look_again(self) -> Millis | None:
        """Return from when on a second snapshot may confirm what a shrunken one said; None if none is needed."""
        return self._doubt.ripe

    @property
    def doubted(self) -> int:
        """Count the claims that stay only because one snapshot's word was not enough."""
        return len(self._doubt)

    @property
    def provisional(self) -> bool:
        """Tell whether all that is known comes from the state file."""
        return self._provisional

    def restore(self, page: Page, now: Millis) -> None:
        """Take in what an earlier process knew. It may know less than the kernel; the LAPI's word is yet to come."""
        self._fold(page)
        self.ledger.absorb(page, now)
        self.expire(now)
        self.synced = self._provisional = True

    def take(self, page: Page, now: Millis) -> Taken:
        """Take in a page. What a snapshot lacks goes at once if that is little, else once two snapshots lack it."""
        self._fold(page)
        if page.startup:
            self.rejects.clear()
            self.ignored.clear()
        self.rejects += page.rejects
        self.ignored += page.ignored
        ledger = self.ledger
        begun, over = ledger.begun, ledger.over
        ledger.expire(now)
        banned = ledger.distinct - ledger.ending(now)
        doubtful = ledger.absorb(page, now)
        kept = self._settle_missing(page, banned, now) if page.startup else 0
        self.expire(now)
        self.synced = True
        if page.startup:
            self._provisional = False
        return Taken(ledger.begun - begun, ledger.over - over, kept, doubtful)

    def keep_to(self, families: Collection[Family]) -> None:
        """Let go of all other families' claims; the LAPI tells them anew when one is handled again."""
        self.ledger.drop(self.ledger.beyond(families))

    def sort_anew(self, sorting: Sorting) -> int:
        """Put every claim where the policies of now want it; returns how many moved or ended.

        Both sides of a move are one change, so nobody is let in between.
        """
        memory: dict[tuple[Label, bool], Label | None] = {}

        def again(label: Label, decision: int) -> Label | None:
            alone = decision < 0  # found in the kernel: nobody knows its scenario
            if (label, alone) not in memory:
                memory[label, alone] = self._folded_label(sorting, label, alone=alone)
            return memory[label, alone]

        moved = self.ledger.regroup(again)
        self.delta.note(self.wanted.settle())
        return moved

    def expire(self, now: Millis) -> None:
        """Let go of what has run out."""
        self.ledger.expire(now)
        self.delta.note(self.wanted.settle())

    def rebase(self, holding: Holding, layout: Layout, now: Millis) -> int:
        """Start over from what the kernel was found to hold; returns in how many elements it is off."""
        bans = {target: held for target, held in holding.items() if target.group != NEVER_BLOCK}
        if layout != self.wanted.layout:
            self._lay_out(layout)
        self.delta.note(self.wanted.settle())
        if self._provisional and not self._compared:  # what others put there later is not ours
            found = strangers(bans, self.wanted, layout, min(self.ledger.lowest, 0), now)
            self.ledger.absorb(found, now)
            self.wanted.settle()
        self._compared = True
        return self.delta.rebase(bans, self.wanted, layout, now)

    def spare(self, entries: Mapping[AddressKey, Millis]) -> bool:
        """Never block these, and nobody else; returns whether the kernel must be compared anew for it."""
        layout = self.wanted.layout
        if self.never.replace(entries) <= layout.spares:
            return False
        self._lay_out(layout)
        return True

    def plan(self, now: Millis) -> Change:
        """Say what the kernel must be told now: first whom to let pass, and bans once there is a page."""
        never = self.never.plan(now)
        if not self.synced:
            return never
        bans = self.delta.plan(self.wanted, now)
        if self._provisional:  # nobody knows yet whom emptying a set would let in
            bans = {target: part for target, part in bans.items() if not part.flush}
        return {**never, **bans}

    def done(self, change: Change) -> None:
        """Note that the kernel was told."""
        bans = {target: part for target, part in change.items() if target.group != NEVER_BLOCK}
        self.delta.commit(bans, self.wanted)
        self.never.done(change)

    def _lay_out(self, layout: Layout) -> None:
        self.wanted = Wanted(self.ledger, layout, self.never.holes(layout))

    def _settle_missing(self, page: Page, banned: int, now: Millis) -> int:
        ledger = self.ledger
        missing = {decision: ledger.key(decision) for decision in ledger.missing(now)}
        ledger.drop(self._doubt.judge(missing, page.keys, banned, now))
        return len(self._doubt)

    @staticmethod
    def _folded_label(sorting: Sorting, label: Label, *, alone: bool) -> Label | None:
        if alone:
            return label if label.group == ONE_GROUP else sorting.stranded(label)
        after = sorting.again(label)
        return after and (label if label.group == ONE_GROUP else after)

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
