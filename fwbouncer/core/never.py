"""Who is never blocked: the addresses and networks as a set of its own, and what the kernel lacks of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.core.delta import Delta
from fwbouncer.core.holes import Holes
from fwbouncer.core.model import NEVER_BLOCK, Family, Kind, Layout, SetKey, family_of
from fwbouncer.core.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fwbouncer.core.model import AddressKey, Change, Element, Holding, Millis


class NeverBlock:
    """Like the bans, it is wanted, compared with what the kernel holds, planned and committed; see `Book`."""

    def __init__(self) -> None:
        self.entries: Mapping[AddressKey, Millis] = {}  # FOREVER for those that don't end by themselves
        self._ranges = {family: Ranges(family) for family in Family}
        self._layout = Layout(flatten=True)
        self._delta = Delta()

    def __len__(self) -> int:
        return len(self.entries)

    def replace(self, entries: Mapping[AddressKey, Millis]) -> frozenset[Family]:
        """Spare these and nobody else; returns the families in which that is a change."""
        before, self.entries = self.entries, dict(entries)
        changed = {k: before.get(k, 0) for k in {**before, **entries} if before.get(k) != entries.get(k)}
        for key in changed:
            self._ranges[family_of(key)].put(key, entries.get(key, 0))
        for family, ranges in self._ranges.items():
            pieces = ranges.settle()
            if not self._layout.flatten:
                pieces = {key: until for key, until in changed.items() if family_of(key) is family}
            if pieces and family in self._layout.spares:
                self._delta.note({self._target(family): pieces})
        return frozenset(map(family_of, changed))

    def holds(self, key: AddressKey) -> bool:
        """Tell whether all of an address or network is never blocked."""
        family = family_of(key)
        return not any(True for _ in self.spared(family).around_key(key))

    def holes(self, layout: Layout) -> dict[Family, Holes]:
        """Return what must be cut out of the bans, in the families that have no set for it."""
        every = {family: self.spared(family) for family in Family if family not in layout.spares}
        return {family: holes for family, holes in every.items() if holes}

    def rebase(self, holding: Holding, layout: Layout, now: Millis) -> int:
        """Start over from what the kernel was found to hold; returns in how many elements it is off."""
        self._layout = layout
        held = {target: elements for target, elements in holding.items() if target.group == NEVER_BLOCK}
        return self._delta.rebase(held, self, Layout(layout.flatten), now)

    def plan(self, now: Millis) -> Change:
        """Say what the kernel must be told now."""
        return self._delta.plan(self, now)

    def done(self, change: Change) -> None:
        """Note that the kernel was told."""
        ours = {target: part for target, part in change.items() if target.group == NEVER_BLOCK}
        self._delta.commit(ours, self)

    def deadlines(self, target: SetKey, elements: Iterable[Element]) -> Iterable[Millis]:
        """Say of each of these elements until when the set must hold it; 0 if it must not."""
        if target != self._target(target.family) or target.family not in self._layout.spares:
            return (0 for _ in elements)
        if self._layout.flatten:
            return map(self._ranges[target.family].deadline, elements)
        return (self.entries.get(element, 0) for element in elements)

    def elements(self) -> Iterator[tuple[SetKey, Element, Millis]]:
        """Yield everything that must be held."""
        for family in self._layout.spares:
            target = self._target(family)
            if self._layout.flatten:
                for element, until in self._ranges[family].elements():
                    yield target, element, until
            else:
                for key, until in self.entries.items():
                    if family_of(key) is family:
                        yield target, key, until

    def spared(self, family: Family) -> Holes:
        """Return a family's addresses that are never blocked."""
        size = family.size
        pieces = (element for element, _ in self._ranges[family].elements())
        return Holes(
            family, ((int.from_bytes(p[:size], "big"), int.from_bytes(p[size:], "big")) for p in pieces)
        )

    def _target(self, family: Family) -> SetKey:
        return SetKey(NEVER_BLOCK, family, Kind.RANGES if self._layout.flatten else Kind.HOSTS)
