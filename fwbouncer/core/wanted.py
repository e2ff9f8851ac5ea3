"""What must be in the kernel's sets: the ledger's claims, laid out as the backend wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.core.holes import CutLedger
from fwbouncer.core.model import (
    AddressKey,
    Element,
    Family,
    Kind,
    Layout,
    Millis,
    SetKey,
    family_of,
)
from fwbouncer.core.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fwbouncer.core.holes import Holes
    from fwbouncer.core.ledger import Ledger

_Place = tuple[str, Family]


class Wanted:
    """The sets as they must be. Hosts are looked up in the ledger; flattened ranges are kept here.

    `holes` are what no set may hold, in the families whose never-blocked peers have no set of their own.
    """

    def __init__(self, ledger: Ledger, layout: Layout, holes: Mapping[Family, Holes] | None = None) -> None:
        self._ledger = ledger
        self._layout = layout
        self._holes = dict(holes or {})
        self._cut = {family: CutLedger(ledger, there) for family, there in self._holes.items()}
        self._ranges: dict[_Place, Ranges] = {}
        for group, key, deadline in ledger.addresses():
            if self._flattened(group, len(key)):
                self._of((group, family_of(key))).put(key, deadline)
        for ranges in self._ranges.values():
            ranges.settle()

    @property
    def layout(self) -> Layout:
        """Return the layout that this was made for."""
        return self._layout

    def __len__(self) -> int:
        """Count the elements; an address that several groups ban counts once."""
        networks = sum(ranges.networks for ranges in self._ranges.values())
        return self._ledger.distinct - networks + sum(map(len, self._ranges.values()))

    def settle(self) -> dict[SetKey, dict[Element, Millis]]:
        """Follow the ledger; returns every element that may have changed, with the deadline it had (or 0)."""
        changed: dict[SetKey, dict[Element, Millis]] = {}
        unsettled: set[_Place] = set()
        touched = self._ledger.take_touched()
        for (group, length), notes in touched.items():
            place = group, Family.of(length)
            if self._flattened(group, length):
                for key in notes:
                    self._of(place).put(key, self._ledger.deadline(group, key))
                unsettled.add(place)
                continue
            pieces = notes  # a million of them is not copied
            if place[1] in self._holes:
                around = {**touched.get((group, length ^ 1), {}), **notes}  # hosts and networks alike
                pieces = {p: d for key in notes for p, d in self._pieces_before(group, key, around).items()}
            target = SetKey(*place, Kind.HOSTS)
            if target in changed:
                changed[target].update(pieces)
            else:
                changed[target] = pieces
        for group, family in unsettled:
            pieces = self._ranges[group, family].settle()
            if pieces:
                changed[self._range_set(group, family)] = pieces
        return changed

    def deadlines(self, target: SetKey, elements: Iterable[Element]) -> Iterable[Millis]:
        """Say of each of these elements until when a set must hold it; 0 if it must not."""
        if self._layout.flatten and self._range_set(target.group, target.family) == target:
            return map(self._of((target.group, target.family)).deadline, elements)
        if target.family in self._holes:
            return (self._plain_deadline(target.group, element) for element in elements)
        return self._ledger.deadlines(target.group, elements)

    def elements(self) -> Iterator[tuple[SetKey, Element, Millis]]:
        """Yield everything that must be held."""
        plain: dict[tuple[str, int], SetKey] = {}
        seen: set[tuple[str, AddressKey]] = set()
        for group, key, deadline in self._ledger.addresses():
            if self._flattened(group, len(key)):
                continue
            target = plain.get((group, len(key)))
            if target is None:
                target = plain[group, len(key)] = SetKey(group, family_of(key), Kind.HOSTS)
            if self._holes:
                for piece, until in self._plain_pieces(group, key, deadline, seen):
                    yield target, piece, until
            else:
                yield target, key, deadline
        for (group, family), ranges in self._ranges.items():
            target = self._range_set(group, family)
            for element, deadline in ranges.elements():
                yield target, element, deadline

    def covering(self, group: str, key: AddressKey) -> list[tuple[AddressKey, Millis]]:
        """Return the flattened networks of a group that hold an address, the widest first."""
        ranges = self._ranges.get((group, family_of(key)))
        if ranges is None:
            return []
        size = family_of(key).size
        found = ranges.covering(int.from_bytes(key[:size], "big"))
        return [
            (first.to_bytes(size, "big") + bytes([size * 8 - (last - first).bit_length()]), deadline)
            for (first, last), deadline in found
        ]

    def _plain_deadline(self, group: str, key: AddressKey) -> Millis:
        """Return until when a set must hold a host, or a network where networks stay as they are."""
        family = family_of(key)
        if not self._layout.flatten:
            return self._cut[family].deadline(group, key)
        return 0 if self._holes[family].in_key(key) else self._ledger.deadline(group, key)

    def _pieces_before(
        self, group: str, key: AddressKey, notes: Mapping[AddressKey, Millis]
    ) -> dict[Element, Millis]:
        """Return the elements that a changed claim has a say in, with the deadlines that they had."""
        family = family_of(key)
        if family not in self._holes:
            return {key: notes[key]}
        if self._layout.flatten:
            return {} if self._holes[family].in_key(key) else {key: notes[key]}
        cut = self._cut[family]
        return {piece: cut.before(group, piece, notes) for piece in cut.pieces(key)}

    def _plain_pieces(
        self, group: str, key: AddressKey, deadline: Millis, seen: set[tuple[str, AddressKey]]
    ) -> Iterator[tuple[Element, Millis]]:
        """Yield what must be held for a claim, if it has not been `seen` for another."""
        family = family_of(key)
        if family not in self._holes:
            yield key, deadline
        elif self._layout.flatten:
            if not self._holes[family].in_key(key):
                yield key, deadline
        else:
            cut = self._cut[family]
            for piece in cut.pieces(key):
                if not cut.is_piece(piece):
                    yield piece, deadline
                elif (group, piece) not in seen:
                    seen.add((group, piece))
                    yield piece, cut.deadline(group, piece)

    def _flattened(self, group: str, length: int) -> bool:
        """Tell whether a group's keys of one length are in a set of intervals."""
        layout = self._layout
        if not layout.flatten:
            return False
        return length & 1 == 1 or (bool(layout.mixed) and (group, Family.of(length)) in layout.mixed)

    def _range_set(self, group: str, family: Family) -> SetKey:
        apart = self._layout.flatten and (group, family) not in self._layout.mixed
        return SetKey(group, family, Kind.RANGES if apart else Kind.HOSTS)

    def _of(self, place: _Place) -> Ranges:
        ranges = self._ranges.get(place)
        if ranges is None:
            ranges = self._ranges[place] = Ranges(place[1], self._holes.get(place[1]))
        return ranges
