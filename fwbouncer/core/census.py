"""How many claims there are of each label and kind of address: counted as they come and go, so asking costs nothing."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from fwbouncer.core.model import Family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.model import Label

_LENGTHS = (4, 5, 16, 17)  # of address keys
_BITS = 5  # that a length takes


class Census:
    """Counts of claims, and of what they ban.

    Labels are told apart by identity, because hashing one takes longer than all the rest.
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}  # a label's identity and a length of key, in one number
        self._labels: dict[int, Label] = {}  # by identity; they are kept alive as long as they are counted
        self._banned: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (_LENGTHS[-1] + 1))

    def __iter__(self) -> Iterator[tuple[Label, int, int]]:
        """Yield label, length of address key, and how many claims have both. Equal labels may come more than once."""
        for place, count in self._counts.items():
            yield self._labels[place >> _BITS], place & ((1 << _BITS) - 1), count

    def banned(self) -> dict[tuple[str, Family], int]:
        """Count the addresses and networks that each group bans, however many claims it has on one."""
        return {
            (group, family): counts[family.size] + counts[family.size + 1]
            for group, counts in self._banned.items()
            for family in Family
        }

    def count(self, label: Label, length: int, by: int, banned: int) -> None:
        """Count so many claims more, or less; and so many addresses that the label's group bans."""
        self._banned[label.group][length] += banned
        who = id(label)
        place = who << _BITS | length
        count = self._counts.get(place, 0)
        if not count:
            self._labels[who] = label
        count += by
        if count:
            self._counts[place] = count
            return
        del self._counts[place]
        if not any(who << _BITS | other in self._counts for other in _LENGTHS):
            del self._labels[who]
