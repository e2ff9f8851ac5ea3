"""What bans an address or a range: the claims on it, on networks around it, and on what lies inside it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fwbouncer.core.addresses import supernets
from fwbouncer.core.model import AddressKey, Family, family_of, is_range
from fwbouncer.core.ranges import flatten, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwbouncer.core.holes import Holes
    from fwbouncer.core.ledger import Ledger
    from fwbouncer.core.selection import Claim


def around(ledger: Ledger, key: AddressKey) -> Iterator[Claim]:
    """Yield the claims on an address or network and on every network around it, the narrowest first."""
    for each in (key, *supernets(key)):
        for decision, deadline, label in ledger.claims(each):
            yield decision, each, deadline, label


@dataclass(slots=True)
class Inside:
    """What is banned inside a range, gathered claim by claim."""

    key: AddressKey
    claims: int = 0
    by_origin: Counter[str] = field(default_factory=Counter)
    first: list[Claim] = field(default_factory=list)  # a few of them
    _hosts: set[AddressKey] = field(default_factory=set)
    _networks: set[AddressKey] = field(default_factory=set)

    def add(self, claims: Iterable[Claim], most: int) -> None:
        """Take in claims that have addresses in common with the range; keep the first ones, at most so many."""
        for claim in claims:
            key, label = claim[1], claim[3]
            self.claims += 1
            self.by_origin[label.origin] += 1
            (self._networks if is_range(key) else self._hosts).add(key)
            if len(self.first) < most:
                self.first.append(claim)

    def banned(self, holes: Holes) -> int:
        """Count the addresses of the range that are banned and not in a hole."""
        family = family_of(self.key)
        low, high = span(self.key, family)
        cut = sorted(
            ((max(low, a), min(high, b)) for a, b in (span(key, family) for key in self._networks)),
            key=lambda piece: (piece[0], -piece[1]),
        )
        merged = [(a, b) for a, b, _ in flatten((a, b, 1) for a, b in cut)]
        inside = sum(b - a + 1 for first, last in merged for a, b in holes.around(first, last))
        return inside + sum(self._alone(host, family, merged, holes) for host in self._hosts)

    @staticmethod
    def _alone(host: AddressKey, family: Family, merged: list[tuple[int, int]], holes: Holes) -> bool:
        at, _ = span(host, family)
        index = bisect_right(merged, (at, 1 << 129)) - 1
        in_network = index >= 0 and merged[index][1] >= at
        return not in_network and not holes.meets(at, at)
