"""Where each decision is kept: its id -> a row number. A LAPI gives its ids out in order, and lists them so.

Nearly all of them lie in a sorted array, at twelve bytes each; a dict would take a hundred. What came since the
last tidying is in a dict all the same.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import islice
from operator import lt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_GONE = -1
_FEW = 4096  # ids in the dict that are not worth a tidying


class Index:
    """A mapping of distinct whole numbers to rows."""

    def __init__(self) -> None:
        self._ids = array("q")  # in rising order
        self._rows = array("i")
        self._gone = 0  # rows among these that were taken out
        self._recent: dict[int, int] = {}
        self._at = 0  # behind the one that was found last: whoever asks for many asks in order

    def __len__(self) -> int:
        return len(self._ids) - self._gone + len(self._recent)

    def __iter__(self) -> Iterator[int]:
        """Yield the ids."""
        return (decision for decision, _ in self.items())

    def items(self) -> Iterator[tuple[int, int]]:
        """Yield ids and rows. Nothing may be put in or taken out meanwhile."""
        for decision, row in zip(self._ids, self._rows, strict=True):
            if row != _GONE:
                yield decision, row
        yield from self._recent.items()

    def get(self, decision: int) -> int | None:
        """Return a decision's row."""
        row = self._recent.get(decision)
        if row is None and self._find(decision) and self._rows[self._at - 1] != _GONE:
            row = self._rows[self._at - 1]
        return row

    def put(self, decision: int, row: int) -> None:
        """Enter a decision that is not there."""
        self._recent[decision] = row

    def take_out(self, decision: int) -> None:
        """Forget a decision that is there."""
        if self._recent.pop(decision, None) is None:
            self._find(decision)
            self._rows[self._at - 1] = _GONE
            self._gone += 1

    def fill(self, ids: array[int]) -> bool:
        """Put the n-th of these into row n, if nothing was there; returns False for ids that are not distinct."""
        if not all(map(lt, ids, islice(ids, 1, None))):
            if len(set(ids)) < len(ids):
                return False
            order = sorted(range(len(ids)), key=ids.__getitem__)
            self._ids, self._rows = array("q", map(ids.__getitem__, order)), array("i", order)
        else:
            self._ids, self._rows = ids[:], array("i", range(len(ids)))
        return True

    def tidy(self) -> None:
        """Move what has come from the dict into the array, if it is much; for the end of a large change."""
        if len(self._recent) + self._gone <= _FEW + len(self._ids) // 8:
            return
        both = sorted(self.items())  # nearly in order as it is
        self._ids = array("q", (decision for decision, _ in both))
        self._rows = array("i", (row for _, row in both))
        self._gone = self._at = 0
        self._recent = {}

    def _find(self, decision: int) -> bool:
        """Let `_at` be behind a decision in the array; returns whether it is there, or was."""
        ids, at = self._ids, self._at
        if at >= len(ids) or ids[at] != decision:
            at = bisect_left(ids, decision)
            if at == len(ids) or ids[at] != decision:
                return False
        self._at = at + 1
        return True
