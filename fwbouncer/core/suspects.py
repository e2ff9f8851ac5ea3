"""Whom a change to the bans may have shut out: so few of those who are connected that each can be asked about."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING

from fwbouncer.core.addresses import supernets
from fwbouncer.core.adopt import keys_of
from fwbouncer.core.model import NEVER_BLOCK, Family

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from fwbouncer.core.ledger import Ledger
    from fwbouncer.core.model import AddressKey, Change, Element, Label, Millis

_FAMILY = {4: Family.V4, 5: Family.V4, 8: Family.V4}  # by the length of an element; all others are IPv6's


@dataclass(slots=True)
class Suspects:
    """Elements whose addresses may be blocked now and were not before.

    Changes are kept as they are, because they can be large: whoever looks into them does so in a thread.
    """

    changes: list[Change] = field(default_factory=list)
    keys: list[Sequence[AddressKey]] = field(default_factory=list)
    anew: bool = False  # everybody is in it, for the first time or for good measure

    def __bool__(self) -> bool:
        return bool(self.changes or self.keys)

    def take(self, change: Change) -> None:
        """Add what a change blocks. What it renews counts, too: the kernel may have lost it meanwhile."""
        if any((part.add or part.renew) and target.group != NEVER_BLOCK for target, part in change.items()):
            self.changes.append(change)

    def no_longer_spared(self, before: Mapping[AddressKey, Millis], after: Collection[AddressKey]) -> None:
        """Add those who were never blocked until now: a ban may have waited for them."""
        gone = [key for key in before if key not in after]
        if gone:
            self.keys.append(gone)

    def elements(self) -> Iterator[Element]:
        """Yield all elements; some may come more than once."""
        for change in self.changes:
            for target, part in change.items():
                if target.group != NEVER_BLOCK:
                    for element, _ in chain(part.add, part.renew):
                        yield element
        yield from chain.from_iterable(self.keys)

    def few(self, most: int) -> list[AddressKey] | None:
        """Return the addresses and networks that the elements make up; None if they are more than `most`."""
        networks = (key for element in self.elements() for key in keys_of(element, family_of(element)))
        found = list(islice(networks, most + 1))
        return found if len(found) <= most else None

    def among(self, peers: Collection[AddressKey]) -> set[AddressKey]:
        """Return the peers (addresses) that lie in some element."""
        rows = {size: sorted(peer for peer in peers if len(peer) == size) for size in (4, 16)}
        everyone, found = frozenset(peers), set[bytes]()
        for element in self.elements():
            if len(element) in rows:
                if element in everyone:
                    found.add(element)
            elif row := rows[family_of(element).size]:
                first, last = ends(element)
                found.update(row[bisect_left(row, first) : bisect_right(row, last)])
        return found


def family_of(element: Element) -> Family:
    """Return the family that an element's length tells."""
    return _FAMILY.get(len(element), Family.V6)


def ends(element: Element) -> tuple[bytes, bytes]:
    """Return the first and the last address of a network or interval."""
    size = family_of(element).size
    first, rest = element[:size], element[size:]
    if len(rest) == size:
        return first, rest
    free = (1 << (size * 8 - rest[0])) - 1
    return first, (int.from_bytes(first, "big") | free).to_bytes(size, "big")


def bans_of(ledger: Ledger, peer: AddressKey, now: Millis) -> Iterable[Label]:
    """Yield who bans an address and why: the claims on it, then those on the networks around it."""
    for key in chain((peer,), supernets(peer)):
        for _, deadline, label in ledger.claims(key):
            if deadline > now:
                yield label
