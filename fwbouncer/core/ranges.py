"""Nested networks -> disjoint intervals, each with the latest deadline of the networks over it.

nftables' interval sets refuse elements that overlap; merging them by itself, it keeps the shorter deadline.
Networks never overlap in part: one holds the other or they are apart. At each address one network *wins*, the
one with the latest deadline (of equal ones the widest); a piece is a longest run of addresses with the same
winner. Pieces end in the kernel on their own time, so what is left when the outer network ends is exactly the
inner one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwbouncer.core.holes import Holes
    from fwbouncer.core.model import AddressKey, Element, Family, Millis

Interval = tuple[int, int]  # first address, last address
_MANY = 64  # above so many separate changes one pass over everything is cheaper


def span(key: AddressKey, family: Family) -> Interval:
    """Return a host's or network's first and last address."""
    first = int.from_bytes(key[: family.size], "big")
    prefix = key[family.size] if len(key) > family.size else family.size * 8
    return first, first | ((1 << (family.size * 8 - prefix)) - 1)


def flatten(networks: Iterable[tuple[int, int, Millis]]) -> Iterator[tuple[int, int, Millis]]:
    """Cut networks, sorted by first address and the wider first, into pieces in order."""
    open_networks: list[tuple[int, Millis]] = []  # those that we are in and that win, the innermost last
    at = 0
    for first, last, deadline in networks:
        while open_networks and open_networks[-1][0] < first:
            end, until = open_networks.pop()
            if at <= end:
                yield at, end, until
                at = end + 1
        if open_networks:
            until = open_networks[-1][1]
            if until >= deadline:
                continue  # an outer network lasts at least as long
            if at < first:
                yield at, first - 1, until
        open_networks.append((last, deadline))
        at = first
    while open_networks:
        end, until = open_networks.pop()
        if at <= end:
            yield at, end, until
            at = end + 1


class Ranges:
    """The networks of one set and the pieces they make; a change costs what lies in and around it.

    No piece reaches into one of the `holes`.
    """

    def __init__(self, family: Family, holes: Holes | None = None) -> None:
        self._family = family
        self._holes = holes
        self._networks: dict[Interval, Millis] = {}
        self._order: list[tuple[int, int]] = []  # (first, -last): sorted, the wider of two first
        self._starts: list[int] = []  # the pieces' first addresses, sorted
        self._pieces: dict[int, tuple[int, Millis]] = {}  # first address -> last address, deadline
        self._dirty: list[Interval] = []

    def __len__(self) -> int:
        """Count the pieces."""
        return len(self._pieces)

    @property
    def networks(self) -> int:
        """Count the networks that the pieces are made of."""
        return len(self._networks)

    def put(self, key: AddressKey, deadline: Millis) -> None:
        """Let a network be banned until a deadline; 0 takes it out."""
        interval = span(key, self._family)
        known = interval in self._networks
        if deadline and not known:
            insort(self._order, (interval[0], -interval[1]))
        elif known and not deadline:
            del self._order[bisect_left(self._order, (interval[0], -interval[1]))]
        if deadline:
            self._networks[interval] = deadline
        else:
            self._networks.pop(interval, None)
        self._dirty.append(interval)

    def settle(self) -> dict[Element, Millis]:
        """Cut anew where networks changed; returns the pieces that changed, with their old deadlines or 0."""
        before: dict[Element, Millis] = {}
        for first, last in self._regions():
            old = self._pieces_in(first, last)
            new = {(a, b): d for a, b, d in self._cut(first, last)}
            if old == new:
                continue
            at, end = bisect_left(self._starts, first), bisect_right(self._starts, last)
            self._starts[at:end] = [a for a, _ in new]
            for a, _ in old:
                del self._pieces[a]
            for (a, b), deadline in new.items():
                self._pieces[a] = (b, deadline)
            for piece in old.keys() | new.keys():
                if old.get(piece) != new.get(piece):
                    before.setdefault(self._element(piece), old.get(piece, 0))
        return before

    def deadline(self, element: Element) -> Millis:
        """Return until when a piece is banned; 0 if there is no such piece."""
        size = self._family.size
        last, deadline = self._pieces.get(int.from_bytes(element[:size], "big"), (-1, 0))
        return deadline if last == int.from_bytes(element[size:], "big") else 0

    def elements(self) -> Iterator[tuple[Element, Millis]]:
        """Yield every piece and its deadline, in order."""
        for first in self._starts:
            last, deadline = self._pieces[first]
            yield self._element((first, last)), deadline

    def covering(self, address: int) -> list[tuple[Interval, Millis]]:
        """Return the networks that hold an address, the widest first."""
        bits = self._family.size * 8
        found = []
        for prefix in range(bits + 1):
            first = address >> (bits - prefix) << (bits - prefix)
            interval = (first, first | ((1 << (bits - prefix)) - 1))
            if interval in self._networks:
                found.append((interval, self._networks[interval]))
        return found

    def _element(self, piece: Interval) -> Element:
        size = self._family.size
        return piece[0].to_bytes(size, "big") + piece[1].to_bytes(size, "big")

    def _regions(self) -> list[Interval]:
        """Return disjoint regions, in order, outside of which no piece can have changed.

        A region takes in the pieces that its network cuts or touches: they may grow together or be parted.
        """
        regions: list[list[int]] = []
        for first, last in sorted(set(self._dirty)):
            if regions and first <= regions[-1][1] + 1:
                regions[-1][1] = max(last, regions[-1][1])
            else:
                regions.append([first, last])
        self._dirty = []
        if len(regions) > _MANY:
            regions = [[regions[0][0], regions[-1][1]]]
        wide: list[Interval] = []
        for first, last in regions:
            below = bisect_left(self._starts, first) - 1
            low = self._starts[below] if below >= 0 and self._end(below) >= first - 1 else first
            above = bisect_right(self._starts, last + 1) - 1
            high = max(last, self._end(above)) if above >= 0 else last
            if wide and low <= wide[-1][1]:
                low, high = wide[-1][0], max(high, wide[-1][1])
                wide.pop()
            wide.append((min(low, first), high))
        return wide

    def _cut(self, first: int, last: int) -> Iterator[tuple[int, int, Millis]]:
        """Yield the pieces of a region anew."""
        for start, end, deadline in flatten(self._networks_in(first, last)):
            if self._holes is None:
                yield start, end, deadline
            else:
                for a, b in self._holes.around(start, end):
                    yield a, b, deadline

    def _end(self, index: int) -> int:
        return self._pieces[self._starts[index]][0]

    def _pieces_in(self, first: int, last: int) -> dict[Interval, Millis]:
        at, end = bisect_left(self._starts, first), bisect_right(self._starts, last)
        found = {}
        for start in self._starts[at:end]:
            stop, deadline = self._pieces[start]
            found[(start, stop)] = deadline
        return found

    def _networks_in(self, first: int, last: int) -> Iterator[tuple[int, int, Millis]]:
        """Yield the networks in a region, cut to it: those around its start, then those that start in it."""
        for (_, end), deadline in self.covering(first):
            yield first, min(end, last), deadline
        at = bisect_right(self._order, (first, 1))
        for index in range(at, len(self._order)):
            start, negative_end = self._order[index]
            if start > last:
                return
            yield start, min(-negative_end, last), self._networks[(start, -negative_end)]
