"""Where networks are, roughly, banned and spared ones: packets from elsewhere need not be looked up among them.

A set of intervals is a tree, and each lookup walks down to its leaves: several times a hash set's cost, for each
origin. So ahead of them one hash set tells whether any network has a part in the block of addresses that a packet
comes from. The blocks are never too few: one stays here when its last network goes, until all is read anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2s
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from fwbouncer.core.model import NEVER_BLOCK, Family, Kind
from fwbouncer.kernel import wire

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwbouncer.core.model import Change, Element, Holding, SetKey

# Bits of an address that say in which block it is, the best choice first.
_LENGTHS = {Family.V4: (16, 12, 8), Family.V6: (32, 28, 24, 20)}
# What is written into a rule at once, again for every block that is new; and fits into one message of the kernel's.
MOST = 1024


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of one size: what a packet's address may have in the bits of `mask`."""

    mask: bytes
    count: int
    elements: bytes  # their first addresses, as a set's elements in a message
    digest: bytes

    def __bool__(self) -> bool:
        return self.count > 0


Around: TypeAlias = tuple[Blocks | None, Blocks | None]  # of banned networks, and of who is never blocked


class Near:
    """Gathers the blocks of banned networks, and of who is never blocked."""

    def __init__(self) -> None:
        self._banned, self._spared = (
            {family: _Family(family.size, _LENGTHS[family]) for family in Family} for _ in range(2)
        )

    def find(self, holding: Holding) -> None:
        """Take in what sets hold."""
        for target, held in holding.items():
            self._add(target, held)

    def expect(self, change: Change) -> None:
        """Take in what sets will hold."""
        for target, part in change.items():
            self._add(target, (element for element, _ in chain(part.add, part.renew)))

    def around(self, family: Family) -> Around:
        """Return the smallest blocks that are few enough; None where all are too many."""
        return self._banned[family].blocks(), self._spared[family].blocks()

    def _add(self, target: SetKey, elements: Iterable[Element]) -> None:
        if target.kind is Kind.RANGES:
            found = self._spared if target.group == NEVER_BLOCK else self._banned
            found[target.family].add(elements)


class _Family:
    """One family's blocks, in every size in which they are few enough."""

    def __init__(self, size: int, lengths: tuple[int, ...]) -> None:
        self._size = size
        self._found: dict[int, set[int]] = {length: set() for length in lengths}
        self._blocks: Blocks | None = None
        self._changed = True

    def add(self, elements: Iterable[Element]) -> None:
        size = self._size
        for element in elements:
            first, last = int.from_bytes(element[:size], "big"), int.from_bytes(element[size:], "big")
            for length in tuple(self._found):
                self._add(length, first >> 8 * size - length, last >> 8 * size - length)

    def blocks(self) -> Blocks | None:
        if self._changed:
            self._changed = False
            self._blocks = self._gathered()
        return self._blocks

    def _add(self, length: int, first: int, last: int) -> None:
        found = self._found[length]
        if first == last and first in found:
            return
        self._changed = True
        if last - first < MOST:
            found.update(range(first, last + 1))
        if last - first >= MOST or len(found) > MOST:
            del self._found[length]

    def _gathered(self) -> Blocks | None:
        if not self._found:
            return None
        length, found = next(iter(self._found.items()))
        rest = 8 * self._size - length
        mask = (((1 << length) - 1) << rest).to_bytes(self._size, "big")
        size = self._size
        # The same head for all: an element, its key, the key's value. A general encoder takes ten times as long.
        head = wire.nested(1, wire.nested(1, wire.attribute(1, bytes(size))))[:-size]
        elements = b"".join([head + (block << rest).to_bytes(size, "big") for block in sorted(found)])
        digest = blake2s(mask + elements, digest_size=8).digest()
        return Blocks(mask, len(found), elements, digest)
