"""What is never banned, as holes in the ranges: for sets whose rules are the administrator's.

Where rules of ours stand, they let never-blocked peers pass ahead of the bans. Where they don't, no ban may reach
such a peer: a network is cut into what lies around the holes in it.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from fwbouncer.core.addresses import supernets
from fwbouncer.core.ranges import span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fwbouncer.core.ledger import Ledger
    from fwbouncer.core.model import AddressKey, Family, Millis
    from fwbouncer.core.ranges import Interval


class Holes:
    """Disjoint intervals of one family's addresses."""

    def __init__(self, family: Family, intervals: Iterable[Interval]) -> None:
        self._family = family
        ordered = sorted(intervals)
        self._firsts = [first for first, _ in ordered]
        self._lasts = [last for _, last in ordered]

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def meets(self, first: int, last: int) -> bool:
        """Tell whether some hole and these addresses have one in common."""
        at = bisect_left(self._lasts, first)
        return at < len(self._firsts) and self._firsts[at] <= last

    def around(self, first: int, last: int) -> Iterator[Interval]:
        """Yield what the holes leave of an interval."""
        at = bisect_left(self._lasts, first)
        while at < len(self._firsts) and self._firsts[at] <= last:
            if first < self._firsts[at]:
                yield first, self._firsts[at] - 1
            first = self._lasts[at] + 1
            at += 1
        if first <= last:
            yield first, last

    def in_key(self, key: AddressKey) -> bool:
        """Tell whether some hole and an address or network have an address in common."""
        return self.meets(*span(key, self._family))

    def around_key(self, key: AddressKey) -> Iterator[Interval]:
        """Yield what the holes leave of an address or network."""
        return self.around(*span(key, self._family))

    def cut(self, key: AddressKey) -> list[AddressKey]:
        """Cut a network into the largest networks without a hole; what has none stays whole."""
        if not self.in_key(key):
            return [key]
        bits, size = self._family.size * 8, self._family.size
        pieces: list[AddressKey] = []
        for first, last in self.around_key(key):
            at = first
            while at <= last:
                width = min(_aligned(at, bits), (last - at + 1).bit_length() - 1)
                address = at.to_bytes(size, "big")
                pieces.append(address + bytes([bits - width]) if width else address)
                at += 1 << width
        return pieces


def _aligned(address: int, bits: int) -> int:
    """Return how many bits at an address's end are zero."""
    return (address & -address).bit_length() - 1 if address else bits


class CutLedger:
    """The ledger's claims of one family, as a set that holds networks as they are has to hold them.

    An element is a largest network without a hole exactly when the network around it has one; then every banned
    network around it is cut so that this is one of its pieces, and the longest of their bans counts.
    """

    def __init__(self, ledger: Ledger, holes: Holes) -> None:
        self._ledger = ledger
        self._holes = holes

    def deadline(self, group: str, key: AddressKey) -> Millis:
        """Return until when a set must hold an address or network; 0 if it must not."""
        return self.before(group, key, {})

    def before(self, group: str, key: AddressKey, notes: Mapping[AddressKey, Millis]) -> Millis:
        """Return the same for a moment ago, with the deadlines that changed since then in `notes`."""
        if self._holes.in_key(key):
            return 0
        return max(self._of(group, each, notes) for each in (key, *self._cut_around(key)))

    def pieces(self, key: AddressKey) -> list[AddressKey]:
        """Return the elements that a claim on an address or network has a say in."""
        return self._holes.cut(key)

    def is_piece(self, key: AddressKey) -> bool:
        """Tell whether several claims may have a say in an element."""
        return any(True for _ in self._cut_around(key))

    def _cut_around(self, key: AddressKey) -> Iterator[AddressKey]:
        around = supernets(key)
        nearest = next(around, None)
        if nearest is not None and self._holes.in_key(nearest):
            yield nearest
            yield from around

    def _of(self, group: str, key: AddressKey, notes: Mapping[AddressKey, Millis]) -> Millis:
        noted = notes.get(key)
        return self._ledger.deadline(group, key) if noted is None else noted
